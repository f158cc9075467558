"""The report's figures, each an inline SVG string."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from raw2s.reports import cells
from raw2s.reports.svg import INK, figure_style, inline_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROLE_COLOURS = {
    "weak": "#8b93a1",
    "ensemble": "#b565c9",
    "student": "#4c86d9",
    "ceiling": "#2f9e77",
}
MODEL_COLOURS = ("#4c86d9", "#d9822b", "#2f9e77", "#b565c9", "#d05a5a", "#8b93a1")
_BAR_INCHES = 0.34
_PANELS_A_ROW = 4


def score_bars(summary: pd.DataFrame) -> str:
    """Score of each system of one experiment, with error bars, floor and ceiling lines.

    Args:
        summary: the rows of `raw2s.reports.table.summarise` of one experiment. The error bar is
            the standard deviation over seeds, or the bootstrap interval of a system with one seed.

    Raises:
        ValueError: no rows, or rows of several experiments.
    """
    if summary["experiment"].nunique() != 1:
        raise ValueError(f"summary has {summary['experiment'].nunique()} experiments, expected 1")
    from matplotlib.figure import Figure

    scores = summary["score_mean"].to_numpy(dtype=float)
    std = summary["score_std"].to_numpy(dtype=float)
    below = np.where(np.isnan(std), scores - summary["score_low"].to_numpy(dtype=float), std)
    above = np.where(np.isnan(std), summary["score_high"].to_numpy(dtype=float) - scores, std)
    places = np.arange(len(summary))
    with figure_style():
        figure = Figure(figsize=(7.0, 1.1 + _BAR_INCHES * len(summary)))
        axes = figure.add_subplot()
        axes.barh(
            places,
            scores,
            height=0.68,
            color=[ROLE_COLOURS[role] for role in summary["role"]],
            # The mean of resamples can lie outside the interval of a tiny test set.
            xerr=[np.maximum(below, 0.0), np.maximum(above, 0.0)],
            error_kw={"ecolor": INK, "elinewidth": 1.1, "capsize": 3},
        )
        for place, score in enumerate(scores):
            axes.text(
                1.01, place, cells.number(score), transform=axes.get_yaxis_transform(), va="center"
            )
        for role, name, line in (("weak", "floor", ":"), ("ceiling", "ceiling", "--")):
            # A file of labels is scored on other items: its bar is drawn, the floor is without it.
            of_role = summary.loc[(summary["role"] == role) & summary["tested"], "score_mean"]
            if len(of_role):
                level = float(of_role.mean())
                label = f"{name} {cells.number(level)}"
                axes.axvline(level, color=INK, linestyle=line, linewidth=1.2, label=label)
        axes.set_yticks(places, list(summary["system"]), parse_math=False)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0.0, min(1.0, 1.08 * float(np.max(scores + above))) or 1.0)
        kind = summary["kind"].iloc[0]
        axes.set_xlabel("accuracy" if kind == "classification" else "SLU-F1")
        if axes.get_legend_handles_labels()[0]:
            figure.legend(loc="outside upper center", ncols=2)
        return inline_svg(figure, f"Score of each system in {summary['experiment'].iloc[0]}")


def reliability_panels(curves: pd.DataFrame) -> str:
    """Accuracy against confidence, one panel for each system of one experiment.

    Args:
        curves: the rows of `raw2s.reports.run.reliability.reliability` of one experiment.

    Raises:
        ValueError: no rows, or rows of several experiments.
    """
    if curves["experiment"].nunique() != 1:
        raise ValueError(f"curves have {curves['experiment'].nunique()} experiments, expected 1")
    from matplotlib.figure import Figure

    systems = list(curves["system"].unique())
    columns = min(_PANELS_A_ROW, len(systems))
    rows = -(-len(systems) // columns)
    # The top probability of K classes is never below 1 / K.
    low = 1 / curves["classes"].iloc[0]
    with figure_style():
        drawing = Figure(figsize=(0.6 + 1.7 * columns, 0.3 + 1.9 * rows), layout="constrained")
        panels = drawing.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for panel, system in zip(panels, systems, strict=False):
            bins = curves[curves["system"] == system]
            colour = ROLE_COLOURS[bins["role"].iloc[0]]
            panel.plot([low, 1], [low, 1], color=INK, linestyle=":", linewidth=0.9)
            panel.vlines(bins["confidence"], bins["confidence"], bins["accuracy"], color=colour)
            areas = 6 + 160 * bins["share"]
            panel.scatter(bins["confidence"], bins["accuracy"], areas, colour, clip_on=False)
            panel.set_title(textwrap.fill(system, 24), fontsize=9, parse_math=False)
        # The lowest of each column has the numbers.
        for panel in panels[len(systems) - columns : len(systems)]:
            panel.tick_params(labelbottom=True)
        for panel in panels[len(systems) :]:
            panel.set_visible(False)
        panels[0].set(xlim=(low - 0.03, 1.03), ylim=(-0.03, 1.03))
        drawing.supxlabel("confidence", fontsize=10)
        drawing.supylabel("accuracy", fontsize=10)
        return inline_svg(drawing, f"Reliability of each system in {curves['experiment'].iloc[0]}")


def agreement_heatmap(matrix: pd.DataFrame) -> str:
    """Agreement of N weak models as a heat map with its numbers.

    Args:
        matrix: N x N values in [0, 1], as `raw2s.evaluation.agreement` gives them.

    Raises:
        ValueError: the matrix is empty or not square.
    """
    if matrix.empty or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"matrix has shape {matrix.shape}, expected (N, N) with N > 0")
    from matplotlib.figure import Figure

    n = len(matrix)
    with figure_style():
        figure = Figure(figsize=(1.4 + 0.85 * n, 1.0 + 0.6 * n))
        strength = matrix.to_numpy(dtype=float).clip(0.0, 1.0) ** 2
        heat_cells(figure.add_subplot(), matrix, strength, digits=2)
        return inline_svg(figure, "Agreement of the weak models with each other")


def heat_cells(axes: Axes, matrix: pd.DataFrame, strength: np.ndarray, *, digits: int) -> None:
    """Draw a matrix as shaded cells with their numbers; a cell that is NaN stays blank.

    Args:
        axes: empty axes.
        matrix: R x C numbers; its index and columns name the cells.
        strength: (R, C), how dark each cell is, in [0, 1].
        digits: decimals of the numbers.
    """
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    rows, columns = matrix.shape
    for (row, column), value in np.ndenumerate(matrix.to_numpy(dtype=float)):
        if np.isnan(value):
            continue
        # See-through cells let the page's text colour be read on light and on dark.
        shade = to_rgba(ROLE_COLOURS["student"], 0.65 * float(strength[row, column]))
        axes.add_patch(Rectangle((column, row), 1, 1, facecolor=shade, linewidth=0))
        axes.text(column + 0.5, row + 0.5, f"{value:.{digits}f}", ha="center", va="center")
    axes.set(xlim=(0, columns), ylim=(rows, 0))
    names = [str(name) for name in matrix.columns]
    axes.set_xticks(np.arange(columns) + 0.5, names, rotation=30, ha="right", parse_math=False)
    names = [str(name) for name in matrix.index]
    axes.set_yticks(np.arange(rows) + 0.5, names, parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def labelling_timeline(spans: Sequence[Mapping[str, Any]]) -> str:
    """When each labelling actor was at work: one line an actor, one colour a weak model.

    Args:
        spans: {model, actor, start, end} each, start and end in seconds on one clock.

    Raises:
        ValueError: no spans, or a span that ends before it starts.
    """
    if not spans:
        raise ValueError("spans has 0 entries")
    for index, span in enumerate(spans):
        if not span["end"] >= span["start"]:
            raise ValueError(f"spans[{index}] runs from {span['start']} to {span['end']}")
    from matplotlib.figure import Figure

    origin = min(float(span["start"]) for span in spans)
    length = max(float(span["end"]) for span in spans) - origin
    lanes: dict[tuple[str, str], list[tuple[float, float]]] = {}
    models = list(dict.fromkeys(str(span["model"]) for span in spans))
    for span in sorted(spans, key=lambda span: models.index(str(span["model"]))):
        lane = lanes.setdefault((str(span["model"]), str(span["actor"])), [])
        lane.append((float(span["start"]) - origin, float(span["end"]) - origin))
    with figure_style():
        figure = Figure(figsize=(7.0, 0.8 + _BAR_INCHES * len(lanes)))
        axes = figure.add_subplot()
        for place, ((model, _), work) in enumerate(lanes.items()):
            blocks = [(start, end - start) for start, end in _merged(work, length / 1000)]
            colour = MODEL_COLOURS[models.index(model) % len(MODEL_COLOURS)]
            axes.broken_barh(blocks, (place - 0.34, 0.68), facecolors=colour, linewidth=0)
        labels = [f"{model} · {actor}" for model, actor in lanes]
        axes.set_yticks(np.arange(len(lanes)), labels, parse_math=False)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0.0, length or 1.0)
        axes.set_xlabel("seconds since the first label")
        return inline_svg(figure, "Labelling actors at work over time")


def _merged(work: list[tuple[float, float]], gap: float) -> list[tuple[float, float]]:
    """Spans joined across gaps too small to see: thousands of batches stay a small drawing."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted(work):
        if merged and start - merged[-1][1] <= gap:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
