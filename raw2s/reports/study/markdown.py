"""A study as Markdown, to paste into a page or a pull request."""

from __future__ import annotations

import pandas as pd

from raw2s.reports import cells
from raw2s.reports.markdown import markdown_table
from raw2s.reports.study import cells as study_cells


def study_markdown(
    *,
    title: str,
    question: str,
    command: str,
    table: pd.DataFrame,
    scores: pd.DataFrame,
    axis: str,
    reports: str,
) -> str:
    """The study as text; `table` is of `raw2s.reports.study.comparison.study_table`, `scores` of
    `seed_scores` there, the rest as in `raw2s.reports.study.html.write_study`."""
    parts = [f"# {title}", question, f"```\n{command.strip()}\n```"]
    parts += [" ".join([study_cells.size_note(table), *study_cells.seeds_note(table)])]
    parts.append("![Scores of each system](study.svg)")
    for task, of_task in table.groupby("task", sort=False):
        parts.append(f"## {task}")
        if axis:
            heads = study_cells.score_columns(of_task, axis)
            parts.append(
                markdown_table(heads, [list(row.texts) for row in study_cells.score_rows(of_task)])
            )
        for variant, rows in of_task.groupby("variant", sort=False):
            if axis:
                parts.append(f"### {task}, {axis}: {variant}")
            texts = [study_cells.row_texts(row) for _, row in rows.iterrows()]
            parts += [markdown_table(list(study_cells.COLUMNS), texts), *cells.pgr_notes(rows)]
            parts += cells.untested_notes(rows)
            of_seeds = scores[scores["experiment"] == rows["experiment"].iloc[0]]
            by_seed = study_cells.seed_rows(rows, of_seeds)
            if by_seed:
                heads = study_cells.seed_columns(of_seeds)
                parts.append(markdown_table(heads, [list(row.texts) for row in by_seed]))
        parts += [study_cells.finding(of_task, axis), study_cells.legend(of_task)]
    if reports:
        parts.append(f"[Report of the run]({reports}/report.html)")
    return "\n\n".join(parts) + "\n"
