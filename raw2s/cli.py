"""The command line: parse and validate first, import what is heavy later."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from raw2s import __version__, config
from raw2s.errors import ConfigError, StorageError, no_space

DEMO = Path(__file__).parent / "demo.yaml"
"""The configuration of `raw2s demo`, which is configs/demo.yaml."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns 0, or 2 for what is the user's to mend."""
    parsed = _parser().parse_args(arguments)
    try:
        if parsed.command == "report":
            _report(Path(parsed.run))
            return 0
        path = DEMO if parsed.command == "demo" else parsed.config
        overrides = _overrides(parsed.set)
        base = parsed.base if parsed.command == "study" else None
        settings = config.load(path, data=parsed.data, overrides=overrides, base=base)
        if parsed.command == "plan":
            from raw2s.plan import show_plan

            show_plan(settings)
        elif parsed.command == "sweep":
            from raw2s.sweep import sweep

            sweep(settings)
        elif parsed.command == "study":
            from raw2s.study import study

            study(settings, command=shlex.join(["raw2s", *(arguments or sys.argv[1:])]))
        else:
            from raw2s.run import run

            run(settings)
    except (ConfigError, StorageError, OSError) as error:
        if isinstance(error, OSError) and not no_space(error):
            raise
        print(f"raw2s: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="raw2s", description="Weak-to-strong generalisation with several weak models."
    )
    parser.add_argument("--version", action="version", version=f"raw2s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="do a run and write its report")
    plan = commands.add_parser("plan", help="show a run's stages, models and needs; do nothing")
    sweep = commands.add_parser("sweep", help="search over a run's parameters, test the best once")
    study = commands.add_parser("study", help="answer a question by a table, see configs/studies/")
    study.add_argument(
        "--base", metavar="CONFIG", help="the experiments to study, in place of the file's own base"
    )
    demo = commands.add_parser("demo", help="do the demo's run: a toy world, both kinds of task")
    for command in (run, plan, sweep, study):
        command.add_argument("config", metavar="CONFIG", help="a YAML file, see configs/")
    for command in (run, plan, sweep, study, demo):
        command.add_argument("--data", metavar="FOLDER", help="read data from local files")
        command.add_argument(
            "--set", metavar="KEY=VALUE", action="append", default=[],
            help="override a key of the configuration, e.g. seeds=[0,1] or cluster.cpus=8",
        )  # fmt: skip
    report = commands.add_parser("report", help="write a run's or a sweep's page again")
    report.add_argument(
        "run", metavar="FOLDER", help="<storage>/runs/<name> or <storage>/sweeps/<name>"
    )
    return parser


def _report(folder: Path) -> None:
    if folder.resolve().parent.name == "sweeps":
        from raw2s.sweep import show as show_sweep

        show_sweep(folder)
    else:
        from raw2s.reports.run.report import show

        show(folder)


def _overrides(given: Sequence[str]) -> dict[str, Any]:
    overrides = {}
    for item in given:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set wants KEY=VALUE, it is {item!r}")
        try:
            overrides[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {key}: {value!r} is not YAML") from error
    return overrides


if __name__ == "__main__":
    sys.exit(main())
