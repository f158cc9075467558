"""What the README says can be typed can be typed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from raw2s.cli import _overrides, _parser

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


COMMANDS = [
    shlex.split(line, comments=True)
    for block in blocks("sh")
    for line in block.splitlines()
    if line.startswith("raw2s ")
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_is_one(words: list[str]) -> None:
    parsed = _parser().parse_args(words[1:])
    if parsed.command in ("run", "plan"):
        assert (ROOT / parsed.config).is_file()
        assert set(_overrides(parsed.set)) == {item.partition("=")[0] for item in parsed.set}


def test_a_plan_takes_a_moment_and_no_network() -> None:
    for name in ("paper_sciq", "paper_cosmosqa", "paper_slurp"):
        done = subprocess.run(
            [sys.executable, "-m", "raw2s.cli", "plan", f"configs/{name}.yaml"],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert "GiB" in done.stdout and "7B" in done.stdout


def test_make_targets_and_configurations_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\S+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile
    named = set(re.findall(r"`(\w+\.yaml)`", README))
    assert named == {path.name for path in (ROOT / "configs").glob("*.yaml")}


def test_the_python_example_runs() -> None:
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})


def test_an_error_is_one_line_and_exit_code_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "raw2s.cli", "run", "configs/absent.yaml"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "raw2s: no configuration file configs/absent.yaml\n"
