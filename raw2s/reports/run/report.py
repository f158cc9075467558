"""A run's results in its folder: results.parquet, .csv and .md, calibration.csv, bridge.csv with
its words and chunks, report.html, and the terminal's table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from raw2s import config
from raw2s.config import Run
from raw2s.errors import ConfigError
from raw2s.pipeline import STAGES, Plan, recipe
from raw2s.reports.agreement import weak_agreements
from raw2s.reports.bridge import no_bridge, read_bridge
from raw2s.reports.parts import parts_table, summarise_parts
from raw2s.reports.provenance import provenance
from raw2s.reports.run.html import write_html
from raw2s.reports.run.markdown import write_markdown
from raw2s.reports.run.reliability import reliability
from raw2s.reports.run.uncertainty import summarise_uncertainty
from raw2s.reports.table import summarise, terminal_table, write_csv
from raw2s.storage.tables import read_table
from raw2s.store import Job, Store, write_text


def write_report(run: Run, plan: Plan, store: Store, folder: Path, console: Console) -> None:
    """Gather the experiments' results and write everything that a reader wants."""
    results = pd.concat(
        [read_table(store.path(job) / "results.parquet") for job in plan.jobs("results")],
        ignore_index=True,
    )
    results.to_parquet(folder / "results.parquet", index=False)
    summary = summarise(results)
    write_csv(summary, folder / "results.csv")
    uncertainty = summarise_uncertainty(results)
    uncertainty.to_csv(folder / "calibration.csv", index=False)
    parts = summarise_parts(results)
    if len(parts):
        write_csv(parts, folder / "parts.csv")
    bridge = _bridge(plan, store, folder)
    write_markdown(summary, uncertainty, parts, bridge, folder / "results.md")
    details = _details(plan, store, folder)
    write_text(folder / "details.json", json.dumps(details, indent=1))
    agreements = weak_agreements(results, summary)
    write_html(
        folder / "report.html",
        title=run.name,
        summary=summary,
        uncertainty=uncertainty,
        parts=parts,
        bridge=bridge,
        reliability=reliability(results),
        agreement=agreements,
        spans=details["actors"],
        details={key: value for key, value in details.items() if key != "actors"},
    )
    for experiment in dict.fromkeys(summary["experiment"]):
        console.print(terminal_table(summary[summary["experiment"] == experiment]))
        if (parts["experiment"] == experiment).any():
            console.print(parts_table(str(experiment), parts[parts["experiment"] == experiment]))


def show(folder: str | Path) -> None:
    """Print the table of a run that is done and write its page again.

    Raises ConfigError if the folder holds no run, or the run is not finished.
    """
    path = Path(folder)
    if not (path / "config.yaml").is_file():
        raise ConfigError(f"{folder} is not a run's folder: it holds no config.yaml")
    run = config.load(path / "config.yaml")
    plan, store = recipe(run), Store(run.storage)
    if not all(store.has(job) for job in plan.jobs("bridge_check") + plan.jobs("results")):
        raise ConfigError(f"run {run.name} is not finished; `raw2s run` goes on with it")
    write_report(run, plan, store, path, Console())


def _bridge(plan: Plan, store: Store, folder: Path) -> pd.DataFrame:
    """What was measured of the bridge; its words, its chunks and the summary lie in the folder."""
    jobs = plan.jobs("bridge_check")
    if not jobs:
        return no_bridge()
    for name in ("words", "chunks"):
        tables = [read_table(store.path(job) / f"{name}.parquet") for job in jobs]
        gathered = pd.concat(tables, ignore_index=True)
        gathered.to_parquet(folder / f"bridge_{name}.parquet", index=False)
    bridge = read_bridge(folder)
    bridge.to_csv(folder / "bridge.csv", index=False)
    return bridge


def _rounds(rounds: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of an ensemble: each expert's error and vote, and why the rounds ended."""
    votes = dict(zip(rounds["experts"], rounds["votes"], strict=True))
    told = {
        f"expert {number + 1}: error, vote": f"{error:.4f}, {votes.get(number, 0):.3f}"
        for number, error in enumerate(rounds["errors"])
    }
    if rounds["epsilon"] is not None:
        told["error to beat"] = f"{rounds['epsilon']:.4f}"
    return told | {"ended": rounds["ended"]}


def _titled(plan: Plan, stage: str) -> Iterator[tuple[Job, str, str]]:
    """Each job of the stage with each of its titles, and that as a heading.

    A title that several jobs share, one for each seed, is numbered: equal headings would overwrite
    each other.
    """
    titled = [(job, title) for job in plan.jobs(stage) for title in plan.titles[job.fingerprint]]
    sharing = Counter(title for _, title in titled)
    seen: Counter[str] = Counter()
    for job, title in titled:
        seen[title] += 1
        number = f" ({seen[title]} of {sharing[title]})" if sharing[title] > 1 else ""
        yield job, title, title + number


def _details(plan: Plan, store: Store, folder: Path) -> dict[str, Any]:
    """Counts, actors' time spans and seconds from the artefacts' manifests."""
    counts: dict[str, dict[str, Any]] = {}
    actors: list[dict[str, Any]] = []
    seconds: dict[str, float] = {}
    for stage, stage_title in STAGES.items():
        noted = {job.fingerprint: store.manifest(job)["notes"] for job in plan.jobs(stage)}
        for notes in noted.values():
            for start, end in notes.get("compute", []):
                seconds[stage_title] = seconds.get(stage_title, 0.0) + end - start
        for job, title, heading in _titled(plan, stage):
            notes = noted[job.fingerprint]
            if stage == "label":
                experiment, model = title.split("/", 1)
                actors += [
                    {"experiment": experiment, "model": model} | actor for actor in notes["actors"]
                ]
            for name, found in notes.get("counts", {}).items():
                kept = {what: count for what, count in found.items() if count}
                if kept:
                    counts[f"{heading}: labels of {name}"] = kept
            if job.stage == "experts":
                counts[f"{heading}: rounds"] = _rounds(notes["rounds"])
            if stage == "pairs":
                counts[f"{heading}: preference pairs"] = notes
    environment = json.loads((folder / "environment.json").read_text())
    return {
        "counts": counts,
        "actors": actors,
        "stages": {title: round(value, 1) for title, value in seconds.items()},
    } | provenance((folder / "config.yaml").read_text(), environment)
