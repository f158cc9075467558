"""What a study says, cell by cell and in sentences, the same in Markdown and on the page."""

from __future__ import annotations

import math

import pandas as pd

from raw2s.reports import cells
from raw2s.reports.elements import Row, duration
from raw2s.reports.study.comparison import BETTER, INSIDE_THE_NOISE, WORSE, score_lines

COLUMNS = (
    "System",
    "Score",
    "PGR",
    "Gap",
    "vs best weak",
    "vs Naive",
    "Own time",
    "Time in all",
    "Tokens",
)
_METRICS = {"classification": "accuracy", "generation": "SLU-F1"}
_FEW_SEEDS = 3


def row_texts(row: pd.Series) -> list[str]:
    """One text for each of COLUMNS, from a row of `raw2s.reports.study.comparison.study_table`."""
    return [
        str(row["system"]),
        cells.plus_minus(row["score_mean"], row["score_std"]),
        cells.pgr_text(row),
        cells.signed(row["gap"]),
        _compared(row, "weak"),
        _compared(row, "naive"),
        *(_duration(row[key]) for key in ("own_seconds", "all_seconds")),
        cells.NONE if math.isnan(row["tokens"]) else f"{row['tokens']:,.0f}",
    ]


def sort_values(row: pd.Series) -> list[str | float]:
    """What each cell of `row_texts` sorts by; NaN where it has no value."""
    numbers = (
        "score_mean",
        "pgr_mean",
        "gap",
        "weak_diff",
        "naive_diff",
        "own_seconds",
        "all_seconds",
        "tokens",
    )
    return [str(row["system"]), *(float(row[key]) for key in numbers)]


def score_columns(of_task: pd.DataFrame, axis: str) -> list[str]:
    """The heads of the columns of `score_rows`."""
    return [f"{metric_name(of_task)} by {axis}", *dict.fromkeys(of_task["variant"])]


def score_rows(of_task: pd.DataFrame) -> list[Row]:
    """The scores of one task over its variants: the system and a cell for each variant."""
    variants = list(dict.fromkeys(of_task["variant"]))
    rows = []
    for system, of_system in score_lines(of_task).groupby("system", sort=False):
        scores = of_system.set_index("variant").reindex(variants)
        texts = map(cells.plus_minus, scores["score_mean"], scores["score_std"])
        kind = str(of_system["role"].iloc[0])
        rows.append(Row(kind, [str(system), *texts], [str(system), *scores["score_mean"]]))
    return rows


def change_columns(of_task: pd.DataFrame, axis: str) -> list[str]:
    """The heads of the columns of `change_rows`."""
    first, *others = dict.fromkeys(of_task["variant"])
    return [f"Change from {axis} {first}", *others]


def change_rows(of_task: pd.DataFrame) -> list[Row]:
    """How each student of one task differs from what it is in the first variant: the system and a
    cell for each other variant. Empty where no two variants can be compared."""
    _, *variants = dict.fromkeys(of_task["variant"])
    compared = of_task[of_task["verdict_first"] != ""]
    rows = []
    for system, of_system in compared.groupby("system", sort=False):
        changes = of_system.set_index("variant").reindex(variants)
        texts = [_compared(row, "first") for _, row in changes.iterrows()]
        values = [float(value) for value in changes["first_diff"]]
        rows.append(
            Row(str(of_system["role"].iloc[0]), [str(system), *texts], [str(system), *values])
        )
    return rows


def seed_columns(scores: pd.DataFrame) -> list[str]:
    """The heads of the columns of `seed_rows`, of the seeds that an experiment has run."""
    return ["System", *(f"Seed {seed}" for seed in sorted(scores["seed"].unique()))]


def seed_rows(table: pd.DataFrame, scores: pd.DataFrame) -> list[Row]:
    """The score with each seed, for the systems of one experiment that vary with it.

    table: the experiment's rows of `raw2s.reports.study.comparison.study_table`; scores: those of
    `raw2s.reports.study.comparison.seed_scores`.
    """
    seeds = sorted(scores["seed"].unique())
    rows = []
    for row in table[table["seeds"] > 1].itertuples():
        of_system = scores[scores["system"] == row.system].set_index("seed")["score"]
        values = [float(of_system.get(seed, math.nan)) for seed in seeds]
        rows.append(Row(row.role, [row.system, *map(cells.number, values)], [row.system, *values]))
    return rows


def metric_name(table: pd.DataFrame) -> str:
    """The score of one task: accuracy or SLU-F1."""
    return _METRICS[str(table["kind"].iloc[0])]


def size_note(table: pd.DataFrame) -> str:
    """How many seeds and test items the study has, once for all tasks where they agree."""
    sizes: dict[str, list[str]] = {}
    tested = table[table["tested"]]
    for task, rows in tested.groupby("task", sort=False):
        seeds = _range(rows.groupby("experiment")["seeds"].max(), "seed")
        items = _range(rows.groupby("experiment")["items"].max(), "test item")
        sizes.setdefault(f"{seeds}, {items}", []).append(str(task))
    if len(sizes) == 1:
        return f"{next(iter(sizes))}."
    return "; ".join(f"{', '.join(tasks)}: {size}" for size, tasks in sizes.items()) + "."


def seeds_note(table: pd.DataFrame) -> list[str]:
    """A sentence that warns of fewer than 3 seeds, if an experiment has so few."""
    fewest = int(table[table["tested"]].groupby("experiment")["seeds"].max().min())
    if fewest >= _FEW_SEEDS:
        return []
    if fewest == 1:
        return [
            "With 1 seed a verdict rests on the test items alone, not on the noise of training."
        ]
    return [f"With fewer than {_FEW_SEEDS} seeds the noise of training is hardly known."]


def finding(table: pd.DataFrame, axis: str) -> str:
    """Which student of one task is best, and what the verdicts say of the others."""
    task = str(table["task"].iloc[0])
    students = table[table["role"] == "student"]
    if students.empty:
        return f"{task}: no student."
    parts = [f"{task}: {_best(students, axis)}"]
    others = students[students["system"] != students["best"]]
    if len(others):
        level = int((others["verdict_best"] == INSIDE_THE_NOISE).sum())
        told = f"{level} of the {len(others)} others {'is' if level == 1 else 'are'}"
        if len(others) == 1:
            told = "the other is" if level else "the other is not"
        whom = "it" if not axis else "the best of their variant"
        parts.append(f"; {told} inside the noise of {whom}")
    against = students[students["verdict_naive"] != ""]
    if len(against):
        naive = " or ".join(dict.fromkeys(against["naive"]))
        parts.append(f". {_against(naive, against, 'naive')}")
    changed = students[students["verdict_first"] != ""]
    if len(changed):
        first = table["variant"].iloc[0]
        parts.append(f". {_against(f'itself with {axis} {first}', changed, 'first')}")
    return "".join(parts) + "."


def legend(table: pd.DataFrame) -> str:
    """What the columns and the verdicts of one task mean."""
    naives = [name for name in dict.fromkeys(table["naive"]) if name]
    naive = f" vs Naive: to {' or '.join(naives)}" if naives else ""
    naive += ", whichever is trained alike." if len(naives) > 1 else "." if naives else ""
    change = ""
    if (table["verdict_first"] != "").any():
        change = " Change: to that student in the first variant, where it is another."
        if (table.loc[table["role"] == "weak", "seeds"] == 1).all() and table["seeds"].max() > 1:
            change += " It is of these weak models, whose own noise is in no interval."
    return (
        f"Score: {metric_name(table)}, mean ± standard deviation over seeds. PGR: mean over the "
        "weak models of (score − weak) / (ceiling − weak). Gap: score − mean of the weak models. "
        f"Differences: seeds pooled, with a 95 % interval over {_noise(table)}."
        f"{naive}{change} Inside the noise: the interval covers 0; not corrected for the number of "
        "comparisons. Own "
        "time: computing for this system alone; in all: with all that it needs, shared work "
        "counted whole. Tokens: read in its own training. Times and tokens are means over seeds."
    )


def _noise(table: pd.DataFrame) -> str:
    """What the intervals of differences are over."""
    items = "test items (paired bootstrap)"
    if int(table["seeds"].max()) == 1:
        return items
    return f"{items} and seeds (Student's t of the paired differences), joined in quadrature"


def _best(students: pd.DataFrame, axis: str) -> str:
    best = students[students["system"] == students["best"]]
    if not axis:
        score = cells.number(best["score_mean"].iloc[0])
        only = "only" if len(students) == 1 else "best"
        return f"the {only} student is {best['system'].iloc[0]} ({score})"
    return f"the best student by {axis} is {_with_variants(best)}"


def _against(whom: str, compared: pd.DataFrame, rival: str) -> str:
    """What the verdicts say of students that were compared with a rival."""
    verdicts = compared[f"verdict_{rival}"]
    if (verdicts == INSIDE_THE_NOISE).all():
        return f"No student is told apart from {whom}"
    parts = [
        f"{verdict} {_with_variants(compared[verdicts == verdict])}"
        for verdict in (BETTER, WORSE)
        if (verdicts == verdict).any()
    ]
    parts.append(f"{(verdicts == INSIDE_THE_NOISE).sum()} of {len(compared)} {INSIDE_THE_NOISE}")
    return f"Against {whom}: {'; '.join(parts)}"


def _compared(row: pd.Series, rival: str) -> str:
    """A difference, its interval and the verdict."""
    told = cells.difference(*(row[f"{rival}_{what}"] for what in ("diff", "low", "high")))
    return cells.NONE if told == cells.NONE else f"{told} {row[f'verdict_{rival}']}"


def _with_variants(rows: pd.DataFrame) -> str:
    """The systems, each with its variants if there are any."""
    named = []
    for system, of_system in rows.groupby("system", sort=False):
        variants = ", ".join(variant for variant in of_system["variant"] if variant)
        named.append(f"{system} ({variants})" if variants else str(system))
    return ", ".join(named)


def _range(values: pd.Series, unit: str) -> str:
    low, high = int(values.min()), int(values.max())
    number = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return f"{number} {unit}" + ("" if high == 1 else "s")


def _duration(seconds: float) -> str:
    return cells.NONE if math.isnan(seconds) else duration(seconds)
