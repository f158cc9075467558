"""A sweep's trials in numbers: their ranking, what is told apart, what each parameter does."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype
from scipy.stats import spearmanr

from raw2s.evaluation.statistics import seed_noise, standard_error

COLUMNS = ("trial", "state", "scores", "seconds", "error", "parameters", "tested")
MANY_VALUES = 8
"""A number with more distinct values is taken as continuous."""
MOST_BINS = 6


def check_trials(trials: pd.DataFrame) -> None:
    """Raise ValueError if the trials break their contract.

    A row is a trial: `trial` its number, `state` "done" or "failed", `scores` the validation score
    of each seed ([] where failed), `seconds` of wall time (NaN where all was found already),
    `error` one line ("" where done), `parameters` {dotted key: value}, the same keys in each row,
    `tested` whether its configuration has been scored on the test.
    """
    lacking = [column for column in COLUMNS if column not in trials]
    if lacking:
        raise ValueError(f"trials of shape {trials.shape} lack the columns {lacking}")
    if trials.empty:
        raise ValueError("trials have 0 rows")
    where = f"trials of shape {trials.shape}"
    keys = trials["parameters"].iloc[0].keys()
    again = trials["trial"].duplicated().to_numpy()
    seeds = next((len(row.scores) for row in trials.itertuples() if row.state == "done"), 0)
    for place, row in enumerate(trials.itertuples()):
        if row.state not in ("done", "failed"):
            raise ValueError(f"{where}: state {row.state!r} in row {place}")
        if again[place]:
            raise ValueError(f"{where}: trial {row.trial} again in row {place}")
        if row.parameters.keys() != keys:
            raise ValueError(
                f"{where}: parameters {list(row.parameters)} in row {place}, not {list(keys)}"
            )
        expected = max(seeds, 1) if row.state == "done" else 0
        if len(row.scores) != expected or not np.isfinite(row.scores).all():
            raise ValueError(
                f"{where}: scores {row.scores} in row {place}, expected {expected} finite numbers"
            )


def summarise_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials with score_mean, score_std over seeds (n - 1; NaN for one seed) and rank.

    Rank 1 has the highest mean; of equal means the lowest trial number comes first. All three are
    NaN where a trial failed. Raises ValueError if the trials break their contract.
    """
    check_trials(trials)
    summary = trials.copy()
    both = [mean_std(scores) for scores in trials["scores"]]
    summary["score_mean"], summary["score_std"] = zip(*both, strict=True)
    done = summary[summary["state"] == "done"]
    order = done.sort_values(["score_mean", "trial"], ascending=[False, True]).index
    summary["rank"] = pd.Series(np.arange(1.0, len(order) + 1), index=order, dtype=float)
    return summary


def mean_std(scores: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (n - 1) of a trial's scores; NaN where there are too few."""
    mean = float(np.mean(scores)) if len(scores) else math.nan
    return mean, float(np.std(scores, ddof=1)) if len(scores) > 1 else math.nan


def best_trial(trials: pd.DataFrame) -> int:
    """The number of the trial of rank 1; ValueError if none is done."""
    summary = summarise_trials(trials)
    first = summary[summary["rank"] == 1]
    if first.empty:
        raise ValueError(f"none of the {len(trials)} trials is done")
    return int(first["trial"].iloc[0])


def compare_with_best(trials: pd.DataFrame) -> pd.DataFrame:
    """Each other done trial against the best one, paired over seeds.

    With d_s = (score of the best - score of the trial) with seed s, over n seeds:

    Returns:
        trial, difference (mean of d), standard_error (std of d with n - 1, over sqrt(n)) and
        told_apart: difference > 0 and at least `raw2s.evaluation.statistics.seed_noise`, which is
        t(n - 1) standard errors. With one seed the noise is unknown: standard_error is NaN and
        told_apart is NA. No rows if no trial is done.
    """
    check_trials(trials)
    rows = []
    done = trials[trials["state"] == "done"]
    if len(done):
        best = best_trial(trials)
        top = np.array(done.loc[done["trial"] == best, "scores"].iloc[0], dtype=float)
        for row in done[done["trial"] != best].itertuples():
            d = top - np.array(row.scores, dtype=float)
            apart = d.mean() > 0 and d.mean() >= seed_noise(d) if len(d) > 1 else pd.NA
            rows.append((row.trial, d.mean(), standard_error(d), apart))
    types = {"trial": int, "difference": float, "standard_error": float, "told_apart": "boolean"}
    return pd.DataFrame(rows, columns=list(types)).astype(types)


def ranked_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """The columns of `summarise_trials` and `compare_with_best`, best trial first, failed last."""
    summary = summarise_trials(trials).sort_values(["rank", "trial"], ignore_index=True)
    return summary.merge(compare_with_best(trials), on="trial", how="left")


def parameter_table(trials: pd.DataFrame) -> pd.DataFrame:
    """A column for each parameter: floats where all values are numbers, else text.

    Lists of numbers of one length (weights) give a column for each entry k, `name[k]`.
    """
    columns: dict[str, list[float] | list[str]] = {}
    for name in trials["parameters"].iloc[0]:
        values = [parameters[name] for parameters in trials["parameters"]]
        if all(map(_is_vector, values)) and len({len(value) for value in values}) == 1:
            for k, entries in enumerate(zip(*values, strict=True)):
                columns[f"{name}[{k}]"] = [float(entry) for entry in entries]
        elif all(map(_is_number, values)):
            columns[name] = [float(value) for value in values]
        else:
            columns[name] = [value_text(value) for value in values]
    return pd.DataFrame(columns, index=trials.index)


def value_text(value: Any) -> str:
    """A parameter's exact value: a string as it is, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def short_text(value: float | str) -> str:
    """An entry of `parameter_table`: text as it is, a number in at most four digits."""
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e6 else f"{value:.4g}"


def is_continuous(values: pd.Series) -> bool:
    """Numbers of more than MANY_VALUES distinct values."""
    return bool(is_numeric_dtype(values)) and values.nunique() > MANY_VALUES


def levels(values: pd.Series) -> tuple[np.ndarray, list[str]]:
    """The level of each of N trials, and the text of each level.

    A level is a value (numbers ascending, text by appearance); of a continuous parameter a bin:
    b bins of equal counts, b = min(MOST_BINS, floor(sqrt N)), so that pairs of bins are not empty.
    """
    if not is_continuous(values):
        codes, found = pd.factorize(values, sort=bool(is_numeric_dtype(values)))
        return codes, [short_text(value) for value in found]
    bins = min(MOST_BINS, math.isqrt(len(values)))
    # Ties may leave a bin empty: the bins with trials are numbered anew.
    codes, _ = pd.factorize(pd.qcut(values, bins, labels=False, duplicates="drop"), sort=True)
    return codes, [_range_text(values[codes == level]) for level in range(codes.max() + 1)]


def marginal_effects(trials: pd.DataFrame) -> pd.DataFrame:
    """The done trials' scores for each parameter and each of its values.

    Returns:
        parameter, value (text), trials (their number), score_mean, score_std (n - 1) and
        standard_error over the trials' score_mean (NaN for one trial), best (the highest) and
        spearman. A continuous parameter has one row, its range as the value, and Spearman's rank
        correlation with score_mean (NaN where all scores are equal, and for the others).
    """
    done = _done(trials)
    rows: list[dict[str, Any]] = []
    for name, values in parameter_table(trials).loc[done.index].items():
        if is_continuous(values):
            varied = done["score_mean"].nunique() > 1
            rho = float(spearmanr(values, done["score_mean"])[0]) if varied else np.nan
            text = f"{_range_text(values)} ({values.nunique()} values)"
            rows.append(_effect(str(name), text, done["score_mean"]) | {"spearman": rho})
            continue
        codes, texts = levels(values)
        rows += [
            _effect(str(name), text, done.loc[codes == level, "score_mean"])
            for level, text in enumerate(texts)
        ]
    names = ("parameter", "value", "trials", "score_mean", "score_std", "standard_error", "best")
    return pd.DataFrame(rows, columns=[*names, "spearman"])


def varied_parameters(trials: pd.DataFrame) -> list[str]:
    """The parameters whose effect can be drawn: of two or more values among the done trials, and
    if they are text of at most MANY_VALUES."""
    table = parameter_table(trials).loc[_done(trials).index]
    return [
        str(name)
        for name, values in table.items()
        if values.nunique() > 1 and (is_numeric_dtype(values) or values.nunique() <= MANY_VALUES)
    ]


def strongest_pairs(trials: pd.DataFrame) -> list[tuple[str, str]]:
    """The pairs of the three varied parameters of the largest effect, in the trials' order.

    The effect is the range of the mean score over the parameter's `levels`.
    """
    done = _done(trials)
    table = parameter_table(trials).loc[done.index]
    names = varied_parameters(trials)
    effects = {
        name: float(np.ptp(done["score_mean"].groupby(levels(table[name])[0]).mean()))
        for name in names
    }
    strongest = sorted(names, key=lambda name: -effects[name])[:3]
    return list(itertools.combinations([name for name in names if name in strongest], 2))


def pair_means(trials: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """Mean score_mean of the done trials at each pair of `levels`: rows are the first parameter's,
    columns the second's; NaN where there is no trial."""
    done = _done(trials)
    table = parameter_table(trials).loc[done.index]
    rows, row_texts = levels(table[first])
    columns, column_texts = levels(table[second])
    means = np.full((len(row_texts), len(column_texts)), np.nan)
    for (row, column), scores in done["score_mean"].groupby([rows, columns]):
        means[row, column] = scores.mean()
    return pd.DataFrame(means, index=row_texts, columns=column_texts)


def _done(trials: pd.DataFrame) -> pd.DataFrame:
    summary = summarise_trials(trials)
    return summary[summary["state"] == "done"]


def _effect(parameter: str, value: str, scores: pd.Series) -> dict[str, Any]:
    return {
        "parameter": parameter,
        "value": value,
        "trials": len(scores),
        "score_mean": scores.mean(),
        "score_std": scores.std(),
        "standard_error": scores.sem(),
        "best": scores.max(),
    }


def _range_text(values: pd.Series) -> str:
    return f"{values.min():.3g} to {values.max():.3g}"


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_vector(value: object) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(map(_is_number, value))
