"""The report of a sweep: its trials as CSV, its result as Markdown and as a self-contained page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from raw2s.reports import cells
from raw2s.reports.elements import (
    Row,
    escape,
    facts,
    figure,
    how_it_was_run,
    page,
    pairs,
    sortable_table,
)
from raw2s.reports.summary import legend, results_table
from raw2s.reports.sweep import cells as sweep_cells
from raw2s.reports.sweep.markdown import sweep_markdown
from raw2s.reports.sweep.plots import heat_map, marginal_panels
from raw2s.reports.sweep.trials import (
    MANY_VALUES,
    best_trial,
    marginal_effects,
    parameter_table,
    ranked_trials,
    strongest_pairs,
    varied_parameters,
)

_SHOWN = 5


def write_sweep(
    folder: str | Path,
    *,
    title: str,
    trials: pd.DataFrame,
    metric: str,
    judged: str,
    seeds: Sequence[int],
    chosen: pd.DataFrame | None,
    command: str,
    details: Mapping[str, Any],
    chosen_folder: str = "",
) -> None:
    """Write trials.csv, sweep.md and report.html into a local folder, making it.

    Args:
        folder: where to.
        title: heading of the page.
        trials: as `raw2s.reports.sweep.trials.check_trials` says.
        metric: "accuracy" or "SLU-F1".
        judged: which system's validation score it is.
        seeds: the seed of each score of a trial.
        chosen: the chosen configuration's run on the test split, as
            `raw2s.reports.table.summarise` gives it; None before it is scored.
        command: what started the sweep.
        details: fills "How it was run", as `raw2s.reports.elements.how_it_was_run` says.
        chosen_folder: relative path of that run's folder, which holds its report.html; "" for no
            link.

    Raises:
        ValueError: trials break their contract, have scores of another number of seeds, or none is
            done although there is a chosen one.
    """
    ranked = ranked_trials(trials)
    strange = [row.trial for row in ranked.itertuples() if len(row.scores) not in (0, len(seeds))]
    if strange:
        raise ValueError(f"trial {strange[0]} has not one score for each of {len(seeds)} seeds")
    if chosen is not None and (ranked["state"] == "failed").all():
        raise ValueError(f"chosen is given, but none of the {len(ranked)} trials is done")
    text = sweep_markdown(
        title=title,
        trials=trials,
        metric=metric,
        judged=judged,
        chosen=chosen,
        chosen_folder=chosen_folder,
    )
    run = {"judged": judged, "metric": metric, "seeds": ", ".join(map(str, seeds))}
    # With an end of line it is a block, which holds a long command.
    run |= {"command": f"{command}\n", **details}
    sections = _sections(trials, ranked, metric, judged, chosen, chosen_folder)
    links = [(anchor, name) for anchor, name, _ in sections] + [("run", "How it was run")]
    bodies = [
        f'<section id="{anchor}"><h2>{escape(name)}</h2>\n{body}</section>'
        for anchor, name, body in sections
    ]
    Path(folder).mkdir(parents=True, exist_ok=True)
    _csv(ranked, seeds).to_csv(Path(folder) / "trials.csv", index=False)
    (Path(folder) / "sweep.md").write_text(text, encoding="utf-8")
    whole = page(title, links, [*bodies, how_it_was_run(run)])
    (Path(folder) / "report.html").write_text(whole, encoding="utf-8")


def _csv(ranked: pd.DataFrame, seeds: Sequence[int]) -> pd.DataFrame:
    """The trials in order of their numbers, a column for each parameter and each seed."""
    scores = pd.DataFrame(
        [row.scores or [None] * len(seeds) for row in ranked.itertuples()],
        index=ranked.index,
        columns=[f"score_seed_{seed}" for seed in seeds],
    )
    summary = ["score_mean", "score_std", "difference", "standard_error", "told_apart"]
    named = [ranked[["trial", "state", "rank"]], parameter_table(ranked), ranked[summary], scores]
    return pd.concat([*named, ranked[["seconds", "error"]]], axis=1).sort_values("trial")


def _sections(
    trials: pd.DataFrame,
    ranked: pd.DataFrame,
    metric: str,
    judged: str,
    chosen: pd.DataFrame | None,
    chosen_folder: str,
) -> list[tuple[str, str, str]]:
    """Anchor, name and HTML of each section."""
    failed = ranked[ranked["state"] == "failed"]
    done = len(failed) < len(ranked)
    sections = []
    if done:
        best = _best(trials, ranked, metric, judged, chosen is not None)
        sections.append(("best", "Best", best))
        test = _test(chosen, chosen_folder)
        sections.append(("test", "Test of the chosen configuration", test))
    table = f'{_trials_table(ranked, metric)}<p class="soft">{escape(sweep_cells.LEGEND)}</p>'
    sections.append(("trials", "All trials", table))
    if done:
        sections.append(("effects", "Marginal effects", _effects(trials, metric)))
        maps = [_map(trials, first, second) for first, second in strongest_pairs(trials)]
        if maps:
            text = f'<div class="columns">{"".join(maps)}</div>'
            sections.append(("pairs", "Two parameters at once", text))
    if len(failed):
        errors = "".join(
            f"<li>Trial {escape(row.trial)}: {escape(row.error)}</li>"
            for row in failed.itertuples()
        )
        sections.append(("failed", "Failed trials", f"<ul>{errors}</ul>"))
    return sections


def _best(
    trials: pd.DataFrame, ranked: pd.DataFrame, metric: str, judged: str, tested: bool
) -> str:
    number = best_trial(trials)
    top = ranked.iloc[0]
    score = cells.plus_minus(top["score_mean"], top["score_std"])
    done = ranked[ranked["state"] == "done"]
    found = [
        ("Best trial", str(number)),
        (f"Its validation {metric}", score),
        ("Done", f"{len(done)} of {len(ranked)} trials"),
    ]
    return "\n".join(
        [
            f"<p>{escape(sweep_cells.split_note(trials))}</p>",
            facts(found),
            f"<p>Judged: {escape(judged)}.</p>",
            f"<p>{escape(sweep_cells.noise_note(trials))}</p>",
            pairs(f"Parameters of trial {number}", sweep_cells.parameters_text(trials, number)),
            "<h3>Best trials</h3>",
            _trials_table(done.head(_SHOWN), metric),
            '<p class="soft">The highest of many validation scores is optimistic; what the '
            "configuration is worth is what the test says.</p>",
        ]
    )


def _test(chosen: pd.DataFrame | None, chosen_folder: str) -> str:
    if chosen is None:
        return "<p>The chosen configuration has not been run on the test split yet.</p>"
    text = []
    for experiment, systems in chosen.groupby("experiment", sort=False):
        text += [f"<h3>{escape(experiment)}</h3>", results_table(systems)]
        text += [f"<p>{escape(note)}</p>" for note in cells.pgr_notes(systems)]
        text.append(f'<p class="soft">{escape(legend(systems))}</p>')
    if chosen_folder:
        link = escape(f"{chosen_folder}/report.html")
        text.append(f'<p><a href="{link}">Report of this run</a></p>')
    return "\n".join(text)


def _trials_table(ranked: pd.DataFrame, metric: str) -> str:
    """A row for each trial, in the order given."""
    parameters = parameter_table(ranked)
    columns = sweep_cells.trial_columns(parameters, metric)
    rows = []
    for index, trial in ranked.iterrows():
        values = list(parameters.loc[index])
        texts = sweep_cells.trial_texts(trial, values)
        rows.append(Row(_kind(trial), texts, sweep_cells.trial_sort_values(trial, values)))
    text = {place for place in range(len(columns)) if isinstance(rows[0].sort_values[place], str)}
    return f'<div class="trials">{sortable_table(columns, rows, text_columns=text)}</div>'


def _kind(trial: pd.Series) -> str:
    """The row's class: the best trial, one level with it in the noise, a failed one."""
    if trial["rank"] == 1:
        return "best"
    if trial["state"] == "failed":
        return "failed"
    return "level" if sweep_cells.told_apart(trial) == "no" else "done"


def _effects(trials: pd.DataFrame, metric: str) -> str:
    text = []
    varied = varied_parameters(trials)
    if varied:
        caption = (
            "Each faint dot is a trial. Large dots: mean ± standard deviation over the trials "
            "with this value, whatever their other parameters. Parameters of one value, or of "
            f"more than {MANY_VALUES} that are no numbers, are in the table only."
        )
        # One or two panels fit a phone as they are; more may be scrolled.
        kind = "panels" if len(varied) > 2 else "few"
        text.append(figure(kind, marginal_panels(trials, metric), caption))
    rows = [
        Row("effect", sweep_cells.effect_texts(effect), sweep_cells.effect_sort_values(effect))
        for _, effect in marginal_effects(trials).iterrows()
    ]
    text.append("<h3>Each value</h3>")
    columns = [("", header) for header in sweep_cells.EFFECT_COLUMNS]
    text.append(sortable_table(columns, rows, text_columns=range(sweep_cells.EFFECT_TEXT_COLUMNS)))
    text.append(f'<p class="soft">{escape(sweep_cells.EFFECT_LEGEND)}</p>')
    return "\n".join(text)


def _map(trials: pd.DataFrame, first: str, second: str) -> str:
    caption = (
        f"Mean validation score by {first} and {second}. The stronger the blue, the better; a "
        "blank cell has no trial. Parameters of many values are in bins of equal counts."
    )
    return figure("heat", heat_map(trials, first, second), caption)
