"""What the bridge takes for granted: the ceiling reads what the weak models wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from raw2s.stages.data import table
from raw2s.stages.items import model_source
from raw2s.store import Job, Store

if TYPE_CHECKING:
    from raw2s.method.bridge_check import ChunkShare, Word
    from raw2s.trainers.process import Progress


def texts_job(title: str, labels_of: Mapping[str, Job]) -> Job:
    """Declare the weak models' best sequences, as texts for another model to read."""
    return Job("bridge_texts", title, {}, dict(labels_of))


def texts(job: Job, store: Store) -> None:
    """Write each weak model's best sequences, unfinished ones too; `candidate` is the model's
    number."""
    found = pd.concat(
        [
            _best(store, label).assign(candidate=number)
            for number, label in enumerate(job.inputs.values())
        ],
        ignore_index=True,
    ).rename(columns={"text": "completion"})
    with store.write(job) as (folder, notes):
        found[["id", "candidate", "completion"]].to_parquet(folder / "texts.parquet", index=False)
        notes["texts"] = len(found)


def check_job(
    experiment: str, seed: int, labels_of: Mapping[str, Job], ceiling: Job, scores: Job
) -> Job:
    """Declare the comparison of the weak models' labels with the ceiling's scores of `texts_job`,
    which has the same models in the same order."""
    inputs = {"model": ceiling, "scores": scores}
    inputs |= {f"label.{name}": label for name, label in labels_of.items()}
    spec = {"experiment": experiment, "seed": seed}
    return Job("bridge_check", f"{experiment}/bridge", spec, inputs)


def check(job: Job, store: Store, progress: Progress) -> None:
    """Write words.parquet, a row for each word, and chunks.parquet, one for each chunk of a word of
    several: experiment, seed, model (the weak one), id and what `raw2s.method.bridge_check` finds.

    A sequence that the ceiling's tokenizer cannot spell or does not cover exactly is refused, as
    by the bridge.
    """
    from raw2s.method.bridge_check import ChunkShare, Word
    from raw2s.models.loading import load_tokenizer

    tokenizer = load_tokenizer(**model_source(job, store))
    scores = table(store, job.inputs["scores"])
    labels_of = {
        name.removeprefix("label."): label
        for name, label in job.inputs.items()
        if name.startswith("label.")
    }
    words: list[dict[str, Any]] = []
    chunks: list[dict[str, Any]] = []
    counts: dict[str, dict[str, int]] = {}
    for number, (name, label) in enumerate(labels_of.items()):
        told = Counter[str]()
        of_model = scores[scores["candidate"] == number].drop(columns="candidate")
        pairs = _best(store, label).merge(
            of_model, on="id", suffixes=("", "_strong"), validate="1:1"
        )
        for row in pairs.to_dict("records"):
            told["sequences"] += 1
            if not row["scored"]:
                told["longer than the ceiling's context"] += 1
                continue
            found = _compared(tokenizer, row)
            if found is None:
                told["refused by the bridge"] += 1
                continue
            key = dict(job.spec) | {"model": name, "id": row["id"]}
            words += [key | word._asdict() for word in found[0]]
            chunks += [key | share._asdict() for share in found[1]]
        counts[name] = dict(told)
        progress(number + 1, len(labels_of))
    keys = [*job.spec, "model", "id"]
    with store.write(job) as (folder, notes):
        for file, rows, kind in (("words", words, Word), ("chunks", chunks, ChunkShare)):
            frame = pd.DataFrame(rows, columns=[*keys, *kind._fields])
            frame.to_parquet(folder / f"{file}.parquet", index=False)
            notes[file] = len(frame)
        notes["counts"] = counts


def _best(store: Store, label: Job) -> pd.DataFrame:
    """The best sequence for each row."""
    rows = table(store, label)
    return rows[rows["candidate"] == 0]


def _compared(tokenizer: Any, row: Mapping[str, Any]) -> tuple[list[Word], list[ChunkShare]] | None:
    """One sequence's words and chunks; None where it is refused."""
    from raw2s.method.alignment import AlignmentError
    from raw2s.method.bridge_check import check_text
    from raw2s.models.encoding import encode_completion

    ids, _ = encode_completion(tokenizer, row["text"])
    if tokenizer.unk_token_id in ids[:-1]:
        return None
    try:
        return check_text(
            row["text"],
            _spans(row["starts"], row["ends"]),
            row["token_logprobs"],
            _spans(row["starts_strong"], row["ends_strong"]),
            row["token_logprobs_strong"],
            row["confidences"],
        )
    except AlignmentError:
        return None


def _spans(starts: Any, ends: Any) -> list[tuple[int, int]]:
    return list(zip(map(int, starts), map(int, ends), strict=True))
