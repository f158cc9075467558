"""The pages in a real browser: tables sort, nothing overflows, nothing comes from outside."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from raw2s.reports.sweep.html import write_sweep

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")

# Clicks the third header of the first sortable table twice; tells what stands there then.
PROBE = """
<script>
window.addEventListener("load", () => {
  const table = document.querySelector("table.results");
  const column = () => [...table.tBodies[0].rows].map(row => row.cells[2].dataset.value);
  const button = table.querySelectorAll("th button")[2];
  const told = {before: column()};
  button.click(); told.once = column();
  button.click(); told.twice = column();
  told.width = document.documentElement.scrollWidth;
  told.window = window.innerWidth;
  told.outside = performance.getEntriesByType("resource").map(entry => entry.name);
  told.ink = getComputedStyle(document.body).color;
  told.ground = getComputedStyle(document.body).backgroundColor;
  const out = document.createElement("pre");
  out.id = "probe"; out.textContent = JSON.stringify(told);
  document.body.append(out);
});
</script>
"""


def probed(page: Path, folder: Path, *, width: int = 1100, dark: bool = False) -> dict[str, Any]:
    """What the probe tells of a page in a window of this width."""
    copy = folder / f"probed-{width}.html"
    copy.write_text(page.read_text().replace("</body>", PROBE + "</body>"))
    options = ["--blink-settings=preferredColorScheme=0"] if dark else []
    done = subprocess.run(
        [
            str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", *options,
            f"--user-data-dir={folder / 'browser'}", f"--window-size={width},900",
            "--virtual-time-budget=3000", "--dump-dom", copy.as_uri(),
        ],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    found = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr
    told: dict[str, Any] = json.loads(html.unescape(found.group(1)))
    return told


@pytest.fixture(params=["run", "study", "sweep"])
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "run":
        undisturbed: Path = request.getfixturevalue("undisturbed")
        return undisturbed / "runs" / "tiny" / "report.html"
    if request.param == "study":
        studied: Path = request.getfixturevalue("studied")
        return studied / "studies" / "studied" / "study.html"
    trials = pd.DataFrame(
        {
            "trial": range(4), "state": "done", "seconds": 1.0, "error": "", "tested": False,
            "scores": [[0.5, 0.6], [0.7, 0.8], [0.6, 0.6], [0.4, 0.5]],
            "parameters": [{"strategy.a": a, "strategy.b": b} for a in (0.0, 0.5) for b in (1, 2)],
        }
    )  # fmt: skip
    write_sweep(
        tmp_path, title="sweep", trials=trials, metric="accuracy", judged="a student", seeds=[0, 1],
        chosen=None, command="raw2s sweep x.yaml", details={"stages": {"Students": 3.0}},
    )  # fmt: skip
    return tmp_path / "report.html"


def test_a_click_sorts_and_another_turns_it_round(page: Path, tmp_path: Path) -> None:
    told = probed(page, tmp_path)
    once, twice = ([float(v) for v in told[key] if v] for key in ("once", "twice"))
    assert len(once) > 2 and len(set(once)) > 1
    assert sorted(once) in (once, once[::-1])
    assert twice == once[::-1]
    assert sorted(told["before"]) == sorted(told["once"])


def test_nothing_comes_from_outside(page: Path, tmp_path: Path) -> None:
    assert probed(page, tmp_path)["outside"] == []


def test_a_narrow_window_does_not_scroll_sideways(page: Path, tmp_path: Path) -> None:
    # The narrowest that the browser's own window can be.
    told = probed(page, tmp_path, width=500)
    assert told["width"] <= told["window"] == 500


def test_light_and_dark_are_two_pages(page: Path, tmp_path: Path) -> None:
    light, dark = probed(page, tmp_path), probed(page, tmp_path, dark=True)
    assert light["ink"] != dark["ink"] and light["ground"] != dark["ground"]
