"""Experts on split A, one after another: boosting (EnsemW2S) and bagging.

All ranks of a worker group call `train_experts`; the first decides what happens next and writes it
down after each round, so that a killed call goes on with the round it was in.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from raw2s.config import Ensemble, Training
from raw2s.method.bagging import Bagging
from raw2s.method.boosting import Boosting, chance_error
from raw2s.method.ensemble import Array
from raw2s.models.committee import write_committee
from raw2s.models.loading import load_tokenizer
from raw2s.store import write_text
from raw2s.trainers.batches import ClassificationItem, GenerationItem
from raw2s.trainers.mistakes import mistakes, samples
from raw2s.trainers.process import Keep, Progress, agreed, first_of_machine, keep_all
from raw2s.trainers.sft import Items, Loss, fine_tune

Rounds = Boosting | Bagging

_STATE = "rounds.json"


def train_experts(
    source: Callable[[], Mapping[str, Any]],
    items: Items,
    validation: Items,
    *,
    ensemble: Ensemble,
    labels: int | None,
    training: Training,
    learning_rate: float,
    out: Path,
    work: Path,
    progress: Progress,
    keep: Keep | None = None,
) -> dict[str, Any]:
    """Train the rounds' experts and write their committee into `out`.

    source: says where the weak model is, each time it is read: a node may not keep it for hours.
    items, validation: as for `fine_tune`, against the ground truth. `work` holds what a killed call
    goes on from; `keep` is called as for `fine_tune` and after each round.
    Returns each round's error, the experts kept with their votes, and why the rounds ended; without
    an expert that beats epsilon the first stands alone. Raises ValueError for an epsilon that is 0
    or 1.
    """
    wrong = partial(
        mistakes,
        labels=labels,
        batch_size=training.micro_batch_size or training.batch_size,
        seed=training.seed,
    )

    def begin() -> Rounds:
        if (work / _STATE).is_file():
            return _rounds(ensemble, json.loads((work / _STATE).read_text()))
        return _first(ensemble, items, lambda: _epsilon(ensemble, source(), items, labels, wrong))

    def judge() -> Rounds:
        judged = {"path": str(expert)}
        error = None
        if ensemble.error_on == "validation":
            error = float(wrong(judged, validation).mean())
        rounds.add(wrong(judged, items), error=error)
        write_text(work / _STATE, json.dumps(rounds.state()))
        return rounds

    rounds = _decided(ensemble, begin)
    while not rounds.finished:
        number = len(rounds.errors)
        expert = out / f"expert-{number}"
        fine_tune(
            source(),
            weighted(items, rounds.training_weights),
            labels=labels,
            loss=Loss(),
            training=training.model_copy(update={"seed": training.seed + number}),
            learning_rate=learning_rate,
            out=expert,
            work=work / f"round-{number}",
            progress=partial(_of_all_rounds, progress, number, ensemble.rounds),
            validation=validation,
            keep=keep,
        )
        rounds = _decided(ensemble, judge)
        _forget(work / f"round-{number}")
        keep_all(keep)
    experts, votes = rounds.experts or [0], rounds.alphas or [1.0]
    if _first_rank():
        for number in set(range(len(rounds.errors))) - set(experts):
            shutil.rmtree(out / f"expert-{number}", ignore_errors=True)
        load_tokenizer(**source()).save_pretrained(str(out))
        write_committee(out, [f"expert-{n}" for n in experts], votes, ensemble.combine)
    return {
        "errors": rounds.errors,
        "epsilon": rounds.epsilon if isinstance(rounds, Boosting) else None,
        "experts": experts,
        "votes": votes,
        "ended": rounds.reason,
    }


def weighted(items: Items, weights: Array) -> Items:
    """The items with each sample's share in the loss, weights (n,) that sum to 1.

    The mean over items of their losses is then sum_j w_j L_j over the n samples; an answer's loss
    is the mean over its tokens, which its length makes a sum again.
    """
    shares = iter((len(items) * weights).tolist())
    out: list[Any] = []
    for item in items:
        if isinstance(item, ClassificationItem):
            out.append(replace(item, example_weight=next(shares)))
            continue
        [sequence] = item.sequences
        length = len(sequence.input_ids) - sequence.prompt_length
        factors = [length * next(shares) for _ in range(length)]
        out.append(GenerationItem([replace(sequence, token_weights=factors)]))
    return out


def _first(ensemble: Ensemble, items: Items, epsilon: Callable[[], float]) -> Rounds:
    owner = samples(items)
    if ensemble.method == "bagging":
        return Bagging(
            len(owner), item=owner, max_rounds=ensemble.rounds, random_seed=ensemble.seed
        )
    return Boosting(
        len(owner),
        epsilon=epsilon(),
        item=owner,
        level=ensemble.level,
        window=ensemble.window,
        resampling=ensemble.use == "resampling",
        max_rounds=ensemble.rounds,
        on_useless=ensemble.on_useless,
        random_seed=ensemble.seed,
    )


def _epsilon(
    ensemble: Ensemble,
    source: Mapping[str, Any],
    items: Items,
    labels: int | None,
    wrong: Callable[..., Any],
) -> float:
    if ensemble.epsilon == "reference":
        return float(wrong(source, items).mean())
    if ensemble.epsilon == "chance":
        return chance_error(ensemble.choices or labels or len(load_tokenizer(**source)))
    return ensemble.epsilon


def _rounds(ensemble: Ensemble, state: Mapping[str, Any]) -> Rounds:
    kind = Bagging if ensemble.method == "bagging" else Boosting
    return kind.from_state(state)


def _decided(ensemble: Ensemble, decide: Callable[[], Rounds]) -> Rounds:
    """What the first rank decides, told to all."""
    said = agreed(decide().state() if _first_rank() else None)
    return _rounds(ensemble, said or {})


def _forget(checkpoints: Path) -> None:
    """Remove a finished round's checkpoints from each machine, once no rank reads them."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
    if first_of_machine():
        shutil.rmtree(checkpoints, ignore_errors=True)


def _first_rank() -> bool:
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def _of_all_rounds(progress: Progress, number: int, rounds: int, done: int, total: int) -> bool:
    return progress(number * total + done, rounds * total)
