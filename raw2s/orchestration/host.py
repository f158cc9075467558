"""The Ray actor that hosts a model, and what it is asked."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from raw2s.store import Address, Job, Store

if TYPE_CHECKING:
    from ray.actor import ActorHandle

_DEATHS = 5
"""How often a block may end the actor's process before it is given up."""
_PAUSE_SECONDS = 600.0
"""How long no answer is kept after one could not be: a storage may take minutes to fail."""


@dataclass(frozen=True)
class Request:
    """A job's question to one model.

    storage: where the model lies, unless it is the hub's. labels: number of classes of a
    classifier, else None. operation, options: see `raw2s.models.operations`. rows: what to ask.
    kept_as: the name under which answers are kept until the job is done; "": they are not.
    answered: those that were kept before.
    """

    job: Job
    storage: Address
    labels: int | None
    operation: str
    options: Mapping[str, Any]
    rows: pd.DataFrame
    kept_as: str = ""
    answered: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def key(self) -> list[str]:
        """The columns that name a row, in questions and answers."""
        return [name for name in ("id", "candidate") if name in self.rows]

    @cached_property
    def waiting(self) -> pd.DataFrame:
        """The rows without an answer."""
        if self.answered.empty:
            return self.rows
        answered = set(self.answered[self.key].itertuples(index=False, name=None))
        rows = self.rows[self.key].itertuples(index=False, name=None)
        return self.rows[[row not in answered for row in rows]]

    @property
    def model(self) -> str:
        """Which model: the name of its artefact, or what the hub knows it by."""
        if "model" in self.job.inputs:
            return self.job.inputs["model"].fingerprint
        return json.dumps(self.job.spec["source"], sort_keys=True)

    def without_rows(self) -> Request:
        """The question alone."""
        return replace(self, rows=pd.DataFrame(), answered=pd.DataFrame())


class ModelHost:
    """The actor: holds one model at a time and answers blocks of rows for it."""

    def __init__(self, board: ActorHandle) -> None:
        import ray

        from raw2s.trainers.process import quiet

        quiet()
        self._board: Any = board
        self._actor = ray.get_runtime_context().get_actor_id()
        self._host = ray.util.get_node_ip_address()
        self._held: tuple[str, int | None] | None = None
        self._ready = 0.0
        self._store: Store | None = None
        self._keeps_from = 0.0
        self._model: Any = None
        self._tokenizer: Any = None

    def answer(self, request: Request, number: int, block: pd.DataFrame) -> bytes:
        """Answer a block's rows, by an encoded table (`raw2s.storage.tables`); loads the request's
        model if it is not the one held.

        A batch that does not fit into memory is halved and tried again; so is, from the second time
        on, a block that has ended this actor's process (memory of the host that is full ends it
        without an error). Raises RuntimeError for one that goes on doing so.
        """
        import ray

        from raw2s.models import operations
        from raw2s.models.memory import with_smaller_batches
        from raw2s.storage.tables import encoded

        job = request.job
        block_of_job = f"{job.fingerprint} {number} {self._actor}"
        tried: int = ray.get(self._board.begun.remote(block_of_job))
        if tried > _DEATHS:
            raise RuntimeError(
                f"{job.title}: the {len(block)} rows from {block['id'].iloc[0]} on have ended the "
                f"process of their model {tried} times; is the machine's memory full?"
            )
        started = time.time()
        self.load(request)
        rows, batch_size = with_smaller_batches(
            lambda batch_size: operations.run(
                self._model,
                self._tokenizer,
                block,
                operation=request.operation,
                options=request.options,
                batch_size=batch_size,
            ),
            max(1, job.runtime["batch_size"] >> max(0, tried - 1)),
        )
        if batch_size < job.runtime["batch_size"]:
            self._board.say.remote(
                f"{job.title}: memory was full with {job.runtime['batch_size']} rows at once; with "
                f"{batch_size} it goes on"
            )
        answer = encoded(
            rows.assign(
                actor=self._actor,
                actor_host=self._host,
                actor_start=self._ready,
                actor_first=started,
                actor_end=time.time(),
                actor_batch=batch_size,
            )
        )
        self._keep(request, answer)
        self._board.ended.remote(block_of_job)
        return answer

    def _keep(self, request: Request, answer: bytes) -> None:
        """Keep an answer, unless another actor was faster. One that cannot be kept is not lost: it
        goes on from here, and others for a while without a try."""
        import ray

        wanted = request.kept_as and not ray.get_runtime_context().is_canceled()
        if not wanted or self._store is None or time.monotonic() < self._keeps_from:
            return
        try:
            self._store.keep_piece(request.job, request.kept_as, answer)
        except Exception as error:
            self._keeps_from = time.monotonic() + _PAUSE_SECONDS
            self._board.say.remote(
                f"{request.job.title}: answers could not be kept for the case that the run is "
                f"killed ({type(error).__name__}: {error}); tried again after "
                f"{_PAUSE_SECONDS:.0f} s"
            )

    def load(self, request: Request) -> None:
        """Hold the request's model."""
        from raw2s.models.committee import load_answering
        from raw2s.models.loading import load_tokenizer
        from raw2s.models.memory import release
        from raw2s.stages.items import model_source

        wanted = (request.model, request.labels)
        if self._held == wanted:
            return
        self._held = self._model = None
        release()
        self._store = request.storage.open()
        source = model_source(request.job, self._store)
        self._tokenizer = load_tokenizer(**source)
        self._model = load_answering(**source, labels=request.labels)
        self._held = wanted
        self._ready = time.time()
