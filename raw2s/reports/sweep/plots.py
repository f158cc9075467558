"""The figures of a sweep, each an inline SVG string."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from raw2s.reports.run.plots import ROLE_COLOURS, heat_cells
from raw2s.reports.svg import INK, figure_style, inline_svg
from raw2s.reports.sweep.trials import (
    is_continuous,
    levels,
    pair_means,
    parameter_table,
    summarise_trials,
    varied_parameters,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS_A_ROW = 4
_LONGEST_TICK = 22
_TWO_DECADES = 100.0


def marginal_panels(trials: pd.DataFrame, metric: str) -> str:
    """The done trials' score against each varied parameter, one panel each.

    Few values: mean ± standard deviation over a large dot, the trials faint. A continuous
    parameter: a dot for each trial, the axis logarithmic over more than two decades.

    Raises:
        ValueError: no parameter varies.
    """
    names = varied_parameters(trials)
    if not names:
        raise ValueError(f"none of the parameters of {len(trials)} trials varies")
    from matplotlib.figure import Figure

    summary = summarise_trials(trials)
    done = summary[summary["state"] == "done"]
    table = parameter_table(trials).loc[done.index]
    scores = done["score_mean"]
    columns = min(PANELS_A_ROW, len(names))
    rows = -(-len(names) // columns)
    with figure_style():
        drawing = Figure(figsize=(0.6 + 1.9 * columns, 0.2 + 2.3 * rows), layout="constrained")
        panels = drawing.subplots(rows, columns, sharey=True, squeeze=False).ravel()
        for panel, name in zip(panels, names, strict=False):
            if is_continuous(table[name]):
                _scatter(panel, table[name], scores)
            else:
                _dots(panel, table[name], scores)
            panel.set_title(broken_at_dots(name), fontsize=9, parse_math=False)
            panel.tick_params(labelsize=8)
        for panel in panels[len(names) :]:
            panel.set_visible(False)
        drawing.supylabel(f"validation {metric}", fontsize=10)
        return inline_svg(drawing, "Score against each parameter")


def heat_map(trials: pd.DataFrame, first: str, second: str) -> str:
    """Mean score of the done trials at each pair of values or bins of two parameters.

    Shades go from the lowest to the highest cell of this map; a pair without a trial is blank.

    Raises:
        ValueError: the trials have no such parameter, or none is done.
    """
    known = list(parameter_table(trials))
    for name in (first, second):
        if name not in known:
            raise ValueError(f"{name!r} is none of the parameters {known}")
    means = pair_means(trials, first, second)
    if means.empty:
        raise ValueError(f"none of the {len(trials)} trials is done")
    from matplotlib.figure import Figure

    values = means.to_numpy(dtype=float)
    low, high = np.nanmin(values), np.nanmax(values)
    # All cells alike: one middle shade.
    strength = 0.1 + 0.9 * (values - low) / (high - low) if high > low else 0.5 + 0 * values
    with figure_style():
        rows, columns = means.shape
        figure = Figure(figsize=(1.4 + 0.8 * columns, 1.0 + 0.5 * rows))
        axes = figure.add_subplot()
        means.index = means.index.map(_short)
        means.columns = means.columns.map(_short)
        heat_cells(axes, means, strength, digits=3)
        axes.set_ylabel(broken_at_dots(first), parse_math=False)
        axes.set_xlabel(broken_at_dots(second), parse_math=False)
        return inline_svg(figure, f"Mean score by {first} and {second}")


def broken_at_dots(name: str) -> str:
    """A dotted key in lines of at most 24 letters where its parts are that short."""
    lines = textwrap.wrap(name.replace(".", ". "), 24, break_long_words=False)
    return "\n".join(line.replace(". ", ".") for line in lines)


def _dots(panel: Axes, values: pd.Series, scores: pd.Series) -> None:
    places, texts = levels(values)
    of_level = scores.groupby(places)
    # Beside the error bar, which would hide them.
    panel.scatter(places + 0.25, scores, 12, ROLE_COLOURS["student"], alpha=0.5, linewidths=0)
    # One trial has no deviation.
    spread = of_level.std().fillna(0.0)
    panel.errorbar(
        np.arange(len(texts)),
        of_level.mean(),
        spread,
        fmt="o",
        color=INK,
        markersize=4.5,
        elinewidth=1.1,
        capsize=3,
    )
    short = [_short(text) for text in texts]
    angle, side = (30, "right") if sum(map(len, short)) > 18 else (0, "center")
    panel.set_xticks(np.arange(len(texts)), short, rotation=angle, ha=side, parse_math=False)
    panel.set_xlim(-0.6, len(texts) - 0.4)


def _scatter(panel: Axes, values: pd.Series, scores: pd.Series) -> None:
    panel.scatter(values, scores, 16, ROLE_COLOURS["student"], alpha=0.75, linewidths=0)
    if values.min() > 0 and values.max() / values.min() > _TWO_DECADES:
        panel.set_xscale("log")


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TICK else text[: _LONGEST_TICK - 1] + "…"
