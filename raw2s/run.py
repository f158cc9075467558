"""A whole run: check, connect, execute, report."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from raw2s import config
from raw2s.integrity import remove_damaged
from raw2s.pipeline import recipe
from raw2s.store import Job, Store, write_text

PACKAGES = (
    "raw2s", "ray", "torch", "transformers", "tokenizers", "datasets", "deepspeed", "trl",
    "accelerate", "flyingsquid", "pgmpy", "pandas", "numpy",
)  # fmt: skip


def run(settings: config.Run, *, console: Console | None = None) -> Path:
    """Do a run and write its results; returns their folder.

    The folder holds config.yaml (resolved), environment.json, results.parquet, results.csv,
    calibration.csv, parts.csv (with splits from easy to hard), bridge.csv with its words and chunks
    (with `bridge_check`), results.md, details.json and report.html. Raises ConfigError or
    StorageError for what can be known to fail before training.
    """
    from raw2s.checks import check_cluster
    from raw2s.orchestration.cluster import connected
    from raw2s.orchestration.execute import execute
    from raw2s.orchestration.progress import Display
    from raw2s.orchestration.visibility import check_storage
    from raw2s.reports.run.report import write_report

    console = console or Console()
    started = time.monotonic()
    plan = recipe(settings)
    store = Store(settings.storage)
    folder = store.open_results("runs", settings.name)
    write_text(folder / "config.yaml", config.dump(settings))
    console.print(f"[bold]raw2s[/bold] run [bold]{settings.name}[/bold]", highlight=False)
    display = Display(console)
    jobs = [job for stage in plan.stages for job in plan.jobs(stage)]
    mend(jobs, store, console)
    pending = any(not store.has(job) for job in jobs)
    if pending or not (folder / "environment.json").is_file():
        write_text(folder / "environment.json", json.dumps(environment(), indent=1))
    if pending:
        with connected(settings.cluster):
            check_cluster(settings)
            check_storage(store)
            execute(plan, store, settings.cluster, display)
    else:
        console.print("  every stage is done already", style="dim")
    write_report(settings, plan, store, folder, console)
    store.keep_results("runs", settings.name)
    console.out(
        f"  {time.monotonic() - started:.1f} s; report: {folder / 'report.html'}", highlight=False
    )
    return folder


def mend(jobs: Sequence[Job], store: Store, console: Console) -> None:
    """Remove what is damaged of a plan's artefacts, weak labels in any case, and tell what."""
    labels = [job for job in jobs if job.stage == "label"]
    for damage in remove_damaged(jobs, store, also=labels):
        console.out(
            f"  damaged, to be made again: {damage.job.stage} {damage.job.title}: {damage.fault}",
            highlight=False,
        )


def environment() -> dict[str, Any]:
    """Versions and commit that a result was made with."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "git_commit": _commit(),
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Commit of the checkout that raw2s is imported from, marked if it has changes; None outside
    one."""
    where = Path(__file__).parent
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(where), *words], capture_output=True, text=True, check=True
            ).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--", "."])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if changes else "")
