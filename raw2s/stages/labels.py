"""Stages that ask a hosted model: labels, answers, samples, scores, reference log-probabilities.

Each is a request (what to ask whom) and a table that comes back; `raw2s.orchestration.inference`
does the asking. A weak model that is a file of labels answers without being hosted.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from raw2s.config import Cdpo, Data, Labelling, Model
from raw2s.errors import ConfigError
from raw2s.stages.data import rows, source_spec
from raw2s.stages.kept import kept, kept_as
from raw2s.storage.tables import read_table
from raw2s.store import Job, Store

if TYPE_CHECKING:
    from raw2s.orchestration.host import Request
    from raw2s.orchestration.inference import Answer


def _runtime(labelling: Labelling) -> dict[str, Any]:
    return {
        "actors": labelling.actors,
        "cpus": labelling.cpus_per_actor,
        "gpus": labelling.gpus_per_actor,
        "nodes": labelling.nodes,
        "batch_size": labelling.batch_size,
    }


def _ask_job(
    stage: str,
    title: str,
    model_of: Job,
    inputs: dict[str, Job],
    labelling: Labelling,
    spec: dict[str, Any],
    version: int = 1,
) -> Job:
    return Job(stage, title, spec, {"model": model_of} | inputs, _runtime(labelling), version)


def label_job(
    title: str, model_of: Job, splits_of: Job, labelling: Labelling, labels: int | None
) -> Job:
    """Declare a weak model's labels of split B: class probabilities, or its best beams."""
    options = {
        "beams": labelling.beams,
        "sequences": labelling.candidates,
        "max_new_tokens": labelling.max_new_tokens,
    }
    return _ask_job(
        "label", title, model_of, {"splits": splits_of}, labelling,
        _question(labels, options) | {"split": "strong"},
    )  # fmt: skip


def answer_job(
    title: str,
    model_of: Job,
    splits_of: Job,
    labelling: Labelling,
    labels: int | None,
    split: str = "test",
) -> Job:
    """Declare a model's answers to the test or another split: class logits, or greedy text."""
    options = {"beams": 1, "sequences": 1, "max_new_tokens": labelling.max_new_tokens}
    return _ask_job(
        "answer", title, model_of, {"splits": splits_of}, labelling,
        _question(labels, options) | {"split": split}, version=2,
    )  # fmt: skip


def sample_job(
    title: str, student_of: Job, splits_of: Job, labelling: Labelling, cdpo: Cdpo, seed: int
) -> Job:
    """Declare the M sequences that a student samples for each prompt of split B."""
    options = {
        "beams": 1,
        "sequences": cdpo.samples,
        "max_new_tokens": labelling.max_new_tokens,
        "sample": True,
        "temperature": cdpo.temperature,
        "top_p": cdpo.top_p,
        "seed": seed,
    }
    return _ask_job(
        "sample", title, student_of, {"splits": splits_of}, labelling,
        _question(None, options) | {"split": "strong", "rows": cdpo.rows},
    )  # fmt: skip


def score_job(
    stage: str,
    title: str,
    model_of: Job,
    splits_of: Job,
    texts: Job,
    labelling: Labelling,
    *,
    confidences: bool = False,
) -> Job:
    """Declare a model's teacher-forced token log-probabilities of texts that are there already.

    stage: score (a weak model judges, the ceiling reads) or reference (the student before cDPO).
    confidences: also the largest probability at each step.
    """
    options = {"confidences": True} if confidences else {}
    return _ask_job(
        stage, title, model_of, {"splits": splits_of, "texts": texts}, labelling,
        {"operation": "score", "labels": None, "options": options, "split": "strong"},
    )  # fmt: skip


def _question(labels: int | None, options: dict[str, Any]) -> dict[str, Any]:
    if labels is not None:
        return {"operation": "classify", "labels": labels, "options": {}}
    return {"operation": "generate", "labels": None, "options": options}


def request(job: Job, store: Store) -> Request:
    """What the job asks, with its rows and the answers that an earlier run was given."""
    from raw2s.orchestration.host import Request

    asked = rows(store, job.inputs["splits"], job.spec["split"])[["id", "text"]]
    if job.spec.get("rows") is not None:
        asked = asked.head(job.spec["rows"])
    if "texts" in job.inputs:
        texts = read_table(store.path(job.inputs["texts"]) / "texts.parquet")
        asked = texts.merge(asked, on="id", how="left", validate="m:1")
    whole = Request(
        job,
        store.address(),
        job.spec["labels"],
        job.spec["operation"],
        job.spec["options"],
        asked,
        kept_as(job, store),
    )
    return replace(whole, answered=kept(job, store, whole.kept_as, whole.key))


def save(job: Job, store: Store, answer: Answer) -> None:
    """Write the rows that came back; sampled texts also as `texts` for those who score them: what a
    prompt's samples say twice once, as its first candidate."""
    with store.write(job) as (folder, notes):
        answer.rows.to_parquet(folder / "rows.parquet", index=False)
        if job.stage == "sample":
            texts = answer.rows.rename(columns={"text": "completion"})
            texts = texts[["id", "candidate", "completion"]].drop_duplicates(["id", "completion"])
            texts.to_parquet(folder / "texts.parquet", index=False)
            notes["distinct"] = len(texts)
        if "finished" in answer.rows:
            notes["unfinished"] = int((~answer.rows["finished"]).sum())
        notes["rows"] = len(answer.rows)
        notes["actors"] = answer.actors
        notes["compute"] = [[actor["first"], actor["end"]] for actor in answer.actors]


def precomputed_job(title: str, model: Model, splits_of: Job, data: Data, labels: int) -> Job:
    """Declare a weak model that is a file of class probabilities for split B."""
    import hashlib

    if model.precomputed is None:
        raise ValueError(f"model {model.name} has no file of labels")
    path = Path(data.folder or ".") / model.precomputed.file
    if not path.is_file():
        raise ConfigError(f"model {model.name}: no file of labels {path}")
    spec = model.precomputed.model_dump(mode="json", exclude={"file"})
    spec |= {
        "labels": labels,
        "content": hashlib.sha256(path.read_bytes()).hexdigest(),
    } | source_spec(model)
    return Job("precomputed", title, spec, {"splits": splits_of}, {"path": str(path)})


def precomputed(job: Job, store: Store) -> None:
    """Match the file's rows to split B's by their key and write their probabilities."""
    from raw2s.tasks.source import read_file

    labels, column = job.spec["labels"], str(job.spec["column"])
    table = read_file(Path(job.runtime["path"]))
    outer, *inner = column.split(".")
    wanted = [*job.spec["key"], outer]
    absent = [name for name in wanted if name not in table]
    if absent:
        raise ConfigError(f"{job.title}: the file of labels has no column {absent[0]}")
    found: dict[str, list[float]] = {}
    for _, row in table.iterrows():
        value = row[outer]
        for name in inner:
            if not isinstance(value, dict) or name not in value:
                raise ConfigError(f"{job.title}: the file of labels has no column {column}")
            value = value[name]
        key = json.dumps([_plain(row[name]) for name in job.spec["key"]])
        given = _distribution(value, labels, job.title)
        if found.setdefault(key, given) != given:
            raise ConfigError(f"{job.title}: the file of labels has two labels for {key}")
    asked = rows(store, job.inputs["splits"], "strong")
    keys = [json.dumps(json.loads(key)) for key in asked["key"]]
    missing = [item for item, key in zip(asked["id"], keys, strict=True) if key not in found]
    if missing:
        raise ConfigError(
            f"{job.title}: {len(missing)} of {len(asked)} rows of split strong have no label in "
            f"the file, the first is {missing[0]}"
        )
    with store.write(job) as (folder, notes):
        pd.DataFrame({"id": asked["id"], "probabilities": [found[key] for key in keys]}).to_parquet(
            folder / "rows.parquet", index=False
        )
        notes["rows"] = len(asked)


def _distribution(value: Any, labels: int, title: str) -> list[float]:
    try:
        given = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        given = np.asarray([])
    if given.ndim == 0 and labels == 2:
        given = np.stack([1 - given, given])
    # A comparison with NaN is false, so it is refused as well.
    if given.shape != (labels,) or not (given.min() >= 0 and abs(given.sum() - 1) <= 1e-3):
        raise ConfigError(f"{title}: {value!r} is not a distribution over {labels} classes")
    return [float(p) for p in given]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
