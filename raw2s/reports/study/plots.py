"""The figure of a study: each system's score, or the scores over the variants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from raw2s.reports.run.plots import MODEL_COLOURS, ROLE_COLOURS
from raw2s.reports.study.cells import metric_name
from raw2s.reports.study.comparison import MEAN_WEAK, score_lines
from raw2s.reports.svg import INK, figure_style, inline_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AUXILIARY = " + aux"
"""In the name of a student that is trained with the auxiliary confidence loss."""
_MANY_STUDENTS = 8
_DECADE = 10.0
_STEP = 0.012
"""Between the dots of two students at one variant, as a share of the axis."""
_TAKEN = (ROLE_COLOURS["weak"], ROLE_COLOURS["ceiling"])
_COLOURS = [colour for colour in MODEL_COLOURS if colour not in _TAKEN]
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_ERROR_BAR: dict[str, Any] = {"elinewidth": 1.1, "capsize": 3, "markersize": 5}
_PAPER, _INK = "#ffffff", "#1b2028"


def study_figure(table: pd.DataFrame, scores: pd.DataFrame, axis: str) -> str:
    """The study's scores as an inline SVG, a row of panels for each task.

    Args:
        table: as `raw2s.reports.study.comparison.study_table` gives it.
        scores: as `raw2s.reports.study.comparison.seed_scores` gives them.
        axis: what the variants differ in; "" for a study without variants.
    """
    return _lines(table, axis) if axis else _dots(table, scores)


def standalone(svg: str) -> str:
    """An inline SVG as a file of its own: black on white, whatever page shows it."""
    head, body = svg.split(">", 1)
    paper = f'<rect width="100%" height="100%" fill="{_PAPER}"/>'
    return f"{head}>{paper}{body}".replace("currentColor", _INK) + "\n"


def positions(variants: Sequence[str]) -> np.ndarray:
    """Where the variants lie on their axis, (V,): numbers to scale, by their logarithm if they span
    more than a decade; other names, such as "inf", one after the other."""
    try:
        numbers = np.array([float(variant) for variant in variants])
    except ValueError:
        numbers = np.full(len(variants), np.nan)
    if not np.isfinite(numbers).all():
        return np.arange(len(variants), dtype=np.float64)
    if numbers.min() > 0 and numbers.max() / numbers.min() > _DECADE:
        return np.log10(numbers)
    return numbers


def _dots(table: pd.DataFrame, scores: pd.DataFrame) -> str:
    from matplotlib.figure import Figure

    tasks = list(table.groupby("task", sort=False))
    heights = [0.9 + 0.3 * len(rows) for _, rows in tasks]
    with figure_style():
        figure = Figure(figsize=(7.5, 0.5 + sum(heights)), layout="constrained")
        panels = figure.subplots(len(tasks), 1, squeeze=False, height_ratios=heights).ravel()
        for panel, (task, rows) in zip(panels, tasks, strict=True):
            for place, (_, row) in enumerate(rows.iterrows()):
                colour = ROLE_COLOURS[row["role"]]
                here = scores["experiment"].eq(row["experiment"])
                seeds = scores.loc[here & scores["system"].eq(row["system"]), "score"]
                # Below the mean, which would hide them.
                panel.scatter(seeds, [place + 0.22] * len(seeds), 12, colour, alpha=0.45, lw=0)
                std = 0.0 if math.isnan(row["score_std"]) else row["score_std"]
                panel.errorbar(
                    row["score_mean"], place, xerr=std, fmt="o", color=colour, **_ERROR_BAR
                )
            for role, name, line in (("weak", "weak models, mean", ":"), ("ceiling", "", "--")):
                of_role = rows.loc[(rows["role"] == role) & rows["tested"], "score_mean"]
                if len(of_role):
                    panel.axvline(
                        of_role.mean(), color=INK, linestyle=line, lw=1.1, label=name or role
                    )
            panel.set_yticks(np.arange(len(rows)), list(rows["system"]), parse_math=False)
            panel.set_ylim(len(rows) - 0.4, -0.6)
            panel.tick_params(axis="y", length=0)
            panel.set_xlabel(metric_name(rows))
            if len(tasks) > 1:
                panel.set_title(task, parse_math=False)
        _legend(figure, list(panels[:1]), columns=2)
        return inline_svg(figure, "Score of each system")


def _lines(table: pd.DataFrame, axis: str) -> str:
    from matplotlib.figure import Figure

    tasks = list(table.groupby("task", sort=False))
    students = list(dict.fromkeys(table.loc[table["role"] == "student", "system"]))
    plain = [name for name in students if AUXILIARY not in name]
    auxiliary = [name for name in students if AUXILIARY in name]
    split = len(students) > _MANY_STUDENTS and plain and auxiliary
    groups = [plain, auxiliary] if split else [students]
    styles = _styles(students)
    with figure_style():
        figure = Figure(figsize=(8.0, 0.8 + 2.9 * len(tasks)), layout="constrained")
        rows = figure.subplots(len(tasks), len(groups), squeeze=False, sharey="row")
        for panels, (task, of_task) in zip(rows, tasks, strict=True):
            variants = list(dict.fromkeys(of_task["variant"]))
            lines = score_lines(of_task)
            for panel, group in zip(panels, groups, strict=True):
                _panel(panel, lines, variants, group, styles)
                panel.set_xlabel(axis, parse_math=False)
            panels[0].set_ylabel(metric_name(of_task))
            if len(tasks) > 1:
                panels[0].set_title(task, loc="left", parse_math=False)
        _legend(figure, list(rows.ravel()), columns=3)
        return inline_svg(figure, f"Score of each student by {axis}")


def _panel(
    panel: Axes,
    lines: pd.DataFrame,
    variants: list[str],
    students: list[str],
    styles: dict[str, dict[str, Any]],
) -> None:
    """One task's mean weak model, ceiling and some of its students over the variants."""
    at = positions(variants)
    width = float(np.ptp(at)) or 1.0
    grouped = lines[lines["system"] == MEAN_WEAK], lines[lines["role"] == "ceiling"]
    for of_role, name, line in zip(grouped, (MEAN_WEAK, "Ceiling"), (":", "--"), strict=True):
        if len(of_role):
            means = of_role.set_index("variant").reindex(variants)["score_mean"]
            colour = ROLE_COLOURS[of_role["role"].iloc[0]]
            panel.plot(at, means, line, color=colour, marker=".", linewidth=1.6, label=name)
    shown = [name for name in students if (lines["system"] == name).any()]
    for number, name in enumerate(shown):
        of_student = lines[lines["system"] == name].set_index("variant").reindex(variants)
        offset = (number - (len(shown) - 1) / 2) * _STEP * width
        panel.errorbar(
            at + offset,
            of_student["score_mean"],
            of_student["score_std"].fillna(0.0),
            label=name,
            **styles[name],
            **_ERROR_BAR,
        )
    panel.set_xticks(at, variants, parse_math=False)
    panel.set_xlim(at.min() - 0.08 * width, at.max() + 0.08 * width)


def _styles(students: list[str]) -> dict[str, dict[str, Any]]:
    """A colour and a marker for each strategy, open and dashed with the auxiliary loss; once the
    colours are used up they come again with another line."""
    bases = list(dict.fromkeys(name.replace(AUXILIARY, "") for name in students))
    styles = {}
    for name in students:
        number = bases.index(name.replace(AUXILIARY, ""))
        styles[name] = {
            "color": _COLOURS[number % len(_COLOURS)],
            "marker": _MARKERS[number % len(_MARKERS)],
            "linestyle": "--" if AUXILIARY in name else "-" if number < len(_COLOURS) else "-.",
            "fillstyle": "none" if AUXILIARY in name else "full",
        }
    return styles


def _legend(figure: Figure, panels: Sequence[Axes], *, columns: int) -> None:
    """Below the panels: each label of any of them once."""
    handles: dict[str, Any] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        shown = figure.legend(
            list(handles.values()), list(handles), loc="outside lower center", ncols=columns
        )
        for text in shown.get_texts():
            text.set_parse_math(False)
