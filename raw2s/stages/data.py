"""Splits, corpus and tokenizers, and the check that every text fits every model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from raw2s.config import Experiment, Model, Scratch
from raw2s.config import Task as TaskConfig
from raw2s.errors import ConfigError
from raw2s.storage.tables import read_table
from raw2s.store import Job, Store
from raw2s.tasks import make

if TYPE_CHECKING:
    from raw2s.trainers.process import Progress

SPLITS = ("weak", "strong", "validation", "test")


def splits_job(title: str, task: TaskConfig, seed: int) -> Job:
    """Declare the four splits of a task; `seed` is added to its own split seed."""
    spec = task.model_dump(mode="json", exclude={"data", "split_seed"})
    return Job(
        "splits",
        title,
        spec | {"source": make(task).digest(), "seed": task.split_seed + seed},
        runtime={"task": task.model_dump(mode="json")},
    )


def splits(job: Job, store: Store) -> None:
    """Write weak, strong, validation and test rows, and strong_truth apart.

    The strong split's ground truth lies in a file of its own: only the ceiling reads it.
    """
    frames = make(TaskConfig(**job.runtime["task"])).splits(job.spec["seed"])
    with store.write(job) as (folder, notes):
        for name in SPLITS:
            frame = frames[name]
            if name == "strong":
                _write(frame.drop(columns=["text", "key"]), folder / "strong_truth.parquet")
                frame = frame[["id", "text", "key"]]
            _write(frame, folder / f"{name}.parquet")
            notes[name] = len(frame)


def rows(store: Store, splits_of: Job, name: str) -> pd.DataFrame:
    """Rows of one split; `strong` without, `strong_truth` with only, the ground truth."""
    return read_table(store.path(splits_of) / f"{name}.parquet")


def table(store: Store, job: Job) -> pd.DataFrame:
    """The rows of a job's artefact."""
    return read_table(store.path(job) / "rows.parquet")


def corpus_job(title: str, task: TaskConfig) -> Job:
    """Declare the unlabelled texts that models from scratch read."""
    return Job(
        "corpus",
        title,
        {"source": make(task).corpus_digest()},
        runtime={"task": task.model_dump(mode="json")},
    )


def corpus(job: Job, store: Store) -> None:
    """Write the texts, in their order."""
    texts = make(TaskConfig(**job.runtime["task"])).corpus()
    with store.write(job) as (folder, notes):
        _write(pd.DataFrame({"text": texts}), folder / "corpus.parquet")
        notes["texts"] = len(texts)


def corpus_share(store: Store, corpus_of: Job, spec: Mapping[str, Any]) -> list[str]:
    """A model's share: `sentences` texts from `offset` on, going round at the corpus's end."""
    texts = read_table(store.path(corpus_of) / "corpus.parquet")["text"].to_list()
    count = min(spec["sentences"], len(texts))
    return [texts[(spec["offset"] + i) % len(texts)] for i in range(count)]


def tokenizer_job(model: Model, scratch: Scratch, corpus_of: Job) -> Job:
    """Declare the tokenizer of a model from scratch."""
    spec = {
        "tokenizer": scratch.tokenizer,
        "vocabulary": scratch.vocabulary,
        "sentences": scratch.pretraining.sentences,
        "offset": scratch.pretraining.offset,
    }
    return Job("tokenizer", model.name, spec, {"corpus": corpus_of})


def tokenizer(job: Job, store: Store, progress: Progress) -> None:
    """Train it on the model's share of the corpus."""
    from raw2s.models.scratch import train_tokenizer

    share = corpus_share(store, job.inputs["corpus"], job.spec)
    trained = train_tokenizer(job.spec["tokenizer"], share, job.spec["vocabulary"])
    with store.write(job) as (folder, notes):
        trained.save_pretrained(str(folder))
        notes["tokens"] = len(trained)
    progress(1, 1)


def fit_job(
    title: str, experiment: Experiment, splits_of: Job, tokenizers: Mapping[str, Job]
) -> Job:
    """Declare the check that prompts and answers fit every model's context."""
    models = [m for m in [*experiment.weak, experiment.strong] if m.precomputed is None]
    spec = {
        "generation": experiment.generation,
        "max_new_tokens": experiment.labelling.max_new_tokens,
        "models": [
            {"name": m.name, "context": m.scratch.context if m.scratch else None} | source_spec(m)
            for m in models
        ],
    }
    inputs = {"splits": splits_of} | {
        m.name: tokenizers[m.name] for m in models if m.scratch is not None
    }
    return Job("fit", title, spec, inputs, version=2)


def fit(job: Job, store: Store, progress: Progress) -> None:
    """Raise ConfigError for a text that is longer than a model's context.

    Notes the longest texts, and how many true answers hold a piece that the tokenizer does not
    know: what the model learns there is the unknown token, and it can never write such an answer.
    """
    from raw2s.models.encoding import encode_completion, encode_prompt
    from raw2s.models.loading import load_context, load_tokenizer

    longest, unknown = {}, {}
    for done, model in enumerate(job.spec["models"]):
        progress(done, len(job.spec["models"]))
        source = model.get("source") or {"path": str(store.path(job.inputs[model["name"]]))}
        context = model["context"]
        try:
            if context is None:
                context = load_context(**source)
            tokens = load_tokenizer(**source)
        except (OSError, ValueError, ImportError) as error:
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"model {model['name']} cannot be had: {reason}") from error
        for name in SPLITS:
            frame = rows(store, job.inputs["splits"], name)
            prompts = [len(encode_prompt(tokens, text)) for text in frame["text"]]
            answers = [0] * len(prompts)
            if job.spec["generation"]:
                # A full answer and its end: a judge reads both.
                full = job.spec["max_new_tokens"] + 1
                answers = [full] * len(prompts)
                if "target" in frame:
                    targets = [encode_completion(tokens, text)[0] for text in frame["target"]]
                    answers = [max(full, len(ids)) for ids in targets]
                    # The last is the end, which is also the unknown token of some models.
                    cannot = sum(tokens.unk_token_id in ids[:-1] for ids in targets)
                    if cannot:
                        unknown[f"{model['name']}, {name}"] = cannot
            need, at = max(
                zip(map(sum, zip(prompts, answers, strict=True)), frame["id"], strict=True)
            )
            longest[f"{model['name']}, {name}"] = need
            if context is not None and need > context:
                raise ConfigError(
                    f"{job.title}: row {at} of split {name} needs {need} tokens of {model['name']} "
                    f"(prompt and answer), whose context is {context}"
                )
    with store.write(job) as (_, notes):
        notes["longest"] = longest
        notes["answers with unknown pieces"] = unknown


def source_spec(model: Model) -> dict[str, Any]:
    """The part of a fingerprint that names a model that is not made here; empty for one that is."""
    if model.path is None:
        return {}
    source = {
        "path": model.path,
        "revision": model.revision,
        "trust_remote_code": model.trust_remote_code,
    }
    folder = Path(model.path).expanduser()
    if not folder.is_dir():
        if model.path.startswith(("/", ".", "~")):
            raise ConfigError(f"model {model.name}: there is no folder {model.path}")
        return {"source": source}
    if not any(folder.glob("*.safetensors")):
        raise ConfigError(
            f"model {model.name}: folder {folder} holds no weights (*.safetensors; pickled ones "
            "are not read)"
        )
    source["path"] = str(folder.resolve())
    listing = {
        str(file.relative_to(folder)): [
            file.stat().st_size,
            # Weights are told by their size and time: reading gigabytes at each start is too slow.
            file.stat().st_mtime_ns
            if file.stat().st_size > 1_000_000
            else hashlib.sha256(file.read_bytes()).hexdigest(),
        ]
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    digest = hashlib.sha256(json.dumps(listing, sort_keys=True).encode()).hexdigest()
    return {"source": source, "content": digest}


def _write(frame: pd.DataFrame, path: Path) -> None:
    frame.reset_index(drop=True).to_parquet(path, index=False)
