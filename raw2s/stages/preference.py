"""From sampled and judged sequences to preference pairs (Sec. 4.2)."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from raw2s.config import Cdpo, Task
from raw2s.errors import ConfigError
from raw2s.stages.data import rows, table
from raw2s.stages.supervision import combined_scores, score_inputs
from raw2s.store import Job, Store


def pairs_job(
    title: str,
    samples: Job,
    scores_of: Mapping[str, Job],
    labels_of: Mapping[str, Job],
    splits_of: Job,
    cdpo: Cdpo,
    task: Task,
) -> Job:
    """Declare the preference pairs of a student's samples.

    labels_of: the judges' own labels, which count where the weights depend on them.
    """
    spec = {"weights": cdpo.weights, "score": cdpo.score}
    inputs = {"samples": samples, "splits": splits_of}
    inputs |= score_inputs(cdpo.weights, scores_of, labels_of)
    return Job("pairs", title, spec, inputs, {"task": task.model_dump(mode="json")})


def pairs(job: Job, store: Store) -> None:
    """Write, for each prompt with two different samples, the best and the worst by the judges."""
    from raw2s.method.preference import preference_pair

    scores = combined_scores(job, store, job.spec["score"])
    # The judges have read equal texts once, as the first candidate.
    samples = table(store, job.inputs["samples"]).drop_duplicates(["id", "text"])
    prompts = rows(store, job.inputs["splits"], "strong").set_index("id")["text"]
    samples["judged"] = [
        scores.loc[key] for key in zip(samples["id"], samples["candidate"], strict=True)
    ]
    unscored = int(samples["judged"].isna().sum())
    found = []
    for item, group in samples.dropna(subset=["judged"]).groupby("id", sort=False):
        texts, judged = group["text"].to_list(), group["judged"].to_list()
        pair = preference_pair(texts, judged)
        if pair is not None:
            chosen, rejected = pair
            found.append(
                {
                    "id": item,
                    "text": prompts[item],
                    "chosen": texts[chosen],
                    "rejected": texts[rejected],
                    "chosen_score": judged[chosen],
                    "rejected_score": judged[rejected],
                }
            )
    if not found:
        raise ConfigError(f"{job.title}: no prompt has two different samples to choose between")
    frame = pd.DataFrame(found)
    texts = pd.concat(
        [
            frame[["id"]].assign(candidate=0, completion=frame["chosen"]),
            frame[["id"]].assign(candidate=1, completion=frame["rejected"]),
        ]
    ).sort_values(["id", "candidate"], kind="stable")
    with store.write(job) as (folder, notes):
        frame.to_parquet(folder / "rows.parquet", index=False)
        texts.to_parquet(folder / "texts.parquet", index=False)
        notes["pairs"] = len(frame)
        notes["prompts without a pair"] = int(samples["id"].nunique()) - len(frame)
        notes["samples longer than a judge's context"] = unscored
