"""The page in a real browser: no sideways scrolling on a phone, and no script of a response runs."""

import html
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mstar.report.page import write_report
from mstar.rundir import RunDir
from mstar.storage import read_text

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on PATH: apt-get install chromium")

# The report goes into a frame of a phone's width, the script around it measures from outside. Headless
# windows themselves cannot be as narrow as a phone.
OUTSIDE = """<body>
<iframe id="phone" style="border: 0; width: {width}px; height: 800px" srcdoc="{report}"></iframe>
<pre id="found"></pre>
<script>
phone.onload = () => {{
  const inside = phone.contentDocument;
  const wide = [...inside.querySelectorAll("body *")].filter(
    one => one.getBoundingClientRect().right > {width} + 0.5 && !one.closest(".scroll"));
  found.textContent = JSON.stringify({{
    width: inside.documentElement.scrollWidth,
    wide: wide.map(one => one.outerHTML.slice(0, 100)),
    ran: window.ran === true,
    examples: inside.querySelectorAll("article").length,
    cut: [...inside.querySelectorAll("#tests, #temperatures, #stages, #planned")].filter(
      one => one.scrollWidth > one.closest(".scroll").clientWidth + 0.5).map(one => one.id),
  }});
}};
</script>"""


def open_at(width: int, report: str, folder: Path) -> dict[str, Any]:
    """What the script outside found."""
    page = folder / "outside.html"
    page.write_text(OUTSIDE.format(width=width, report=html.escape(report)), encoding="utf-8")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    ]
    options += [
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        f"--user-data-dir={folder / 'profile'}",
        "--dump-dom",
    ]
    assert CHROMIUM is not None
    done = subprocess.run(
        [CHROMIUM, *options, page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    found = done.stdout.partition('<pre id="found">')[2].partition("</pre>")[0]
    return dict(json.loads(html.unescape(found)))


def test_a_phone_never_scrolls_sideways_and_nothing_runs(make: Callable[..., RunDir], tmp_path: Path) -> None:
    hostile = "<script>parent.ran = true</script><img src=x onerror='parent.ran = true'>" + "w" * 3000
    run = make(iterations=3, question=lambda number: hostile, answer=lambda gold, right: hostile + gold)
    write_report(run)
    report = read_text(run.storage, "report.html")
    found = open_at(360, report, tmp_path)
    assert found == {"width": 360, "wide": [], "ran": False, "examples": 10, "cut": []}


def test_the_first_tables_fit_on_a_phone(make: Callable[..., RunDir], tmp_path: Path) -> None:
    """What scrolls sideways inside its own frame looks complete, and hides its last columns."""
    tests = ("strips", "distorted-digits-and-noise", "reworded")
    run = make(iterations=3, tests=tests, problems=300, falling=("reworded",))
    write_report(run)
    report = read_text(run.storage, "report.html")
    assert open_at(375, report, tmp_path)["cut"] == []


def test_the_plan_of_a_real_run_fits_on_a_phone(finished: Path, tmp_path: Path) -> None:
    report = (finished / "report.html").read_text()
    assert '<table id="planned">' in report
    assert open_at(360, report, tmp_path)["cut"] == []
