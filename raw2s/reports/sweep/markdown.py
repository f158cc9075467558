"""A sweep's result as Markdown, to paste into a page or a pull request."""

from __future__ import annotations

import pandas as pd

from raw2s.reports import cells
from raw2s.reports.markdown import markdown_table
from raw2s.reports.sweep import cells as sweep_cells
from raw2s.reports.sweep.trials import best_trial, parameter_table, ranked_trials


def sweep_markdown(
    *,
    title: str,
    trials: pd.DataFrame,
    metric: str,
    judged: str,
    chosen: pd.DataFrame | None,
    chosen_folder: str,
    shown: int = 5,
) -> str:
    """The best trial, the first `shown` in a table and the test; arguments as in `write_sweep`."""
    ranked = ranked_trials(trials)
    failed = ranked[ranked["state"] == "failed"]
    parts = [f"**{title}**", f"Judged: {judged}."]
    if len(failed) == len(ranked):
        parts.append("No trial is done.")
    else:
        parts += [sweep_cells.split_note(trials)]
        best = sweep_cells.parameters_text(trials, best_trial(trials))
        parts.append("\n".join(f"- `{name}`: `{value}`" for name, value in best.items()))
        table = parameter_table(ranked)
        heads = [
            f"{group}.{header}" if group else header
            for group, header in sweep_cells.trial_columns(table, metric)
        ]
        rows = [
            sweep_cells.trial_texts(trial, list(table.loc[index]))
            for index, trial in ranked[ranked["state"] == "done"].head(shown).iterrows()
        ]
        parts += [markdown_table(heads, rows), sweep_cells.noise_note(trials)]
    if chosen is not None:
        for experiment, systems in chosen.groupby("experiment", sort=False):
            texts = [cells.row_texts(system) for _, system in systems.iterrows()]
            parts += [f"**Test of the chosen configuration: {experiment}**"]
            parts += [markdown_table(list(cells.HEADERS), texts), *cells.pgr_notes(systems)]
        if chosen_folder:
            parts.append(f"[Report of this run]({chosen_folder}/report.html)")
    if len(failed):
        numbers = ", ".join(str(trial) for trial in failed["trial"])
        parts.append(f"{len(failed)} of {len(ranked)} trials failed: {numbers}.")
    return "\n\n".join(parts) + "\n"
