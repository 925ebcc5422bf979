"""What a person sees: in a terminal, and where there is none."""

from io import StringIO

import pytest
from rich.console import Console

from mstar.progress import QUIET, LiveProgress, PlainProgress, Progress


def show(progress: Progress) -> None:
    progress.accuracy("start: accuracy heldout 33.2% [28.8%, 38.0%]")
    with progress.stage("generate", 3, 250, "problems") as advance:
        advance(128)
        advance(122)
    progress.note("temperature [0.7]: held")


def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show(PlainProgress())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "start: accuracy heldout 33.2% [28.8%, 38.0%]"
    assert lines[1].startswith("iteration 3 · generate 250 problems in ")
    assert lines[2] == "temperature [0.7]: held"


def test_a_live_line_with_rate_and_newest_accuracy() -> None:
    shown = StringIO()
    show(LiveProgress(Console(file=shown, force_terminal=True, width=140)))
    text = shown.getvalue()
    assert "250/250" in text and "problems/s" in text
    assert text.count("accuracy heldout 33.2%") >= 2
    assert "temperature [0.7]: held" in text


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    show(QUIET)
    assert capsys.readouterr().out == ""
