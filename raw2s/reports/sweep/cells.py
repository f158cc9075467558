"""The texts of a sweep's report, the same in Markdown and on the page."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from raw2s.reports import cells
from raw2s.reports.elements import duration
from raw2s.reports.sweep.trials import compare_with_best, short_text, value_text

LEGEND = (
    "Score: mean ± standard deviation over seeds. Best − trial: mean ± standard error of the "
    "paired differences over seeds; told apart: the 95 % interval of Student's t (12.7 standard "
    "errors for two seeds, 4.3 for three) is above 0. Time: wall time in this sweep; a dash where "
    "everything was found already."
)
EFFECT_COLUMNS = (
    "Parameter",
    "Value",
    "Trials",
    "Score",
    "Standard error",
    "Best",
    "Spearman",
)
EFFECT_TEXT_COLUMNS = 2
EFFECT_LEGEND = (
    "Score: mean ± standard deviation over the trials with this value, whatever their other "
    "parameters. Standard error: of that mean. Spearman: rank correlation of a parameter of many "
    "values with the score."
)
_LAST_HEADERS = ("Best − trial", "Told apart", "Time", "State")


def split_note(trials: pd.DataFrame) -> str:
    """On which split trials are compared, and what the test was used for."""
    tested = [str(trial) for trial in trials.loc[trials["tested"], "trial"]]
    if len(tested) == 1:
        test = f"the test was scored once, for trial {tested[0]}"
    elif tested:
        test = f"the test has been scored for trials {', '.join(tested)}, as the best one changed"
    else:
        test = "the test has not been scored yet"
    return f"Trials are compared on the validation split; {test}."


def noise_note(trials: pd.DataFrame) -> str:
    """How many trials the noise over seeds does not tell apart from the best."""
    others = compare_with_best(trials)
    if others.empty:
        return "There is no other done trial to compare the best with."
    if others["told_apart"].isna().any():
        return "One seed: noise unknown. Small differences between trials may be chance."
    close = int((~others["told_apart"]).sum())
    return (
        f"{close} of the {len(others)} other done trials {'is' if close == 1 else 'are'} not told "
        "apart from the best: the mean difference over seeds is inside the noise."
    )


def parameters_text(trials: pd.DataFrame, trial: int) -> dict[str, str]:
    """A trial's parameters with their exact values."""
    chosen = trials.loc[trials["trial"] == trial, "parameters"].iloc[0]
    return {name: value_text(value) for name, value in chosen.items()}


def trial_columns(parameters: pd.DataFrame, metric: str) -> list[tuple[str, str]]:
    """Group and header of each column of the trials' table; a dotted key's group is what stands
    before its last dot."""
    keys = [str(name).rpartition(".") for name in parameters]
    first = [("", "Rank"), ("", "Trial"), *((group, name) for group, _, name in keys)]
    return [*first, ("", f"Validation {metric}"), *(("", header) for header in _LAST_HEADERS)]


def trial_texts(trial: pd.Series, parameters: Sequence[float | str]) -> list[str]:
    """One text for each of `trial_columns`.

    Args:
        trial: a row of `summarise_trials` with the columns of `compare_with_best`.
        parameters: its row of `parameter_table`.
    """
    return [
        cells.NONE if math.isnan(trial["rank"]) else f"{trial['rank']:.0f}",
        str(trial["trial"]),
        *map(short_text, parameters),
        cells.plus_minus(trial["score_mean"], trial["score_std"]),
        cells.plus_minus(trial["difference"], trial["standard_error"]),
        told_apart(trial),
        cells.NONE if math.isnan(trial["seconds"]) else duration(trial["seconds"]),
        str(trial["state"]),
    ]


def trial_sort_values(trial: pd.Series, parameters: Sequence[float | str]) -> list[str | float]:
    """What each cell of `trial_texts` sorts by; NaN where it has no value."""
    return [
        float(trial["rank"]),
        float(trial["trial"]),
        *parameters,
        float(trial["score_mean"]),
        float(trial["difference"]),
        told_apart(trial),
        float(trial["seconds"]),
        str(trial["state"]),
    ]


def effect_texts(effect: pd.Series) -> list[str]:
    """One text for each of EFFECT_COLUMNS, from a row of `marginal_effects`."""
    return [
        str(effect["parameter"]),
        str(effect["value"]),
        str(effect["trials"]),
        cells.plus_minus(effect["score_mean"], effect["score_std"]),
        cells.number(effect["standard_error"]),
        cells.number(effect["best"]),
        cells.signed(effect["spearman"]),
    ]


def effect_sort_values(effect: pd.Series) -> list[str | float]:
    """What each cell of `effect_texts` sorts by; NaN where it has no value."""
    names = ("trials", "score_mean", "standard_error", "best", "spearman")
    return [str(effect["parameter"]), str(effect["value"]), *(float(effect[n]) for n in names)]


def told_apart(trial: pd.Series) -> str:
    """Yes, no or unknown (one seed); a dash for the best trial and for a failed one."""
    if math.isnan(trial["difference"]):
        return cells.NONE
    if pd.isna(trial["told_apart"]):
        return "unknown"
    return "yes" if trial["told_apart"] else "no"
