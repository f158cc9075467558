"""Answers that are kept, block by block, until their jobs are done: a run that was killed asks for
the rest only."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pandas as pd

from raw2s.errors import StorageError
from raw2s.store import Address, Job, Store

Block = tuple[int, int]
"""A block of a job's rows: the number of the job, and one of its own."""
Keep = Callable[[int, pd.DataFrame, bytes], object]
"""Keeps the answer to a block of rows: the number of the job, the rows, the answer."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """Where the answers of some jobs are kept. `models`: for each job a digest of the files of the
    model that answers, "" for one of the hub's, whose revision the job names."""

    storage: Address
    jobs: Sequence[Job]
    models: Sequence[str]

    @classmethod
    def of(cls, jobs: Sequence[Job], store: Store) -> Kept:
        """Those of jobs whose models are there."""
        return cls(store.address(), jobs, [_files_of_model(job, store) for job in jobs])

    def find(self, blocks: Mapping[Block, pd.DataFrame]) -> dict[Block, bytes]:
        """The answers to these blocks that are kept."""
        store = self.storage.open()

        def find(key: Block) -> bytes | None:
            job, rows = self.jobs[key[0]], blocks[key]
            try:
                return store.piece(job, self._name(key[0], rows))
            except StorageError as error:
                _LOG.warning("%s; its %d rows are asked again", error, len(rows))
                return None

        with ThreadPoolExecutor() as threads:
            found = dict(zip(blocks, threads.map(find, blocks), strict=True))
        return {key: answer for key, answer in found.items() if answer is not None}

    @contextlib.contextmanager
    def keeper(self) -> Iterator[Keep]:
        """What keeps answers beside other work, and has done so when the block is left."""
        store = self.storage.open()
        with ThreadPoolExecutor() as threads:
            # Nobody asks how it went: an answer that cannot be kept is not lost yet, and what is
            # wrong with the storage will be said when the artefact is written.
            yield lambda number, rows, answer: threads.submit(
                store.keep_piece, self.jobs[number], self._name(number, rows), answer
            )

    def _name(self, number: int, rows: pd.DataFrame) -> str:
        asked = f"{self.models[number]} {rows.to_json(orient='split', index=False)}"
        return hashlib.sha256(asked.encode()).hexdigest()[:24]


def _files_of_model(job: Job, store: Store) -> str:
    if "model" not in job.inputs:
        return ""
    files = store.manifest(job.inputs["model"])["files"]
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
