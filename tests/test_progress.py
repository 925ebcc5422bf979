"""What a person sees: in a terminal, and where there is none."""

import subprocess
import sys
from io import StringIO

import pytest
from rich.console import Console

from mstar.progress import QUIET, LiveProgress, PlainProgress, Progress, going_on, opening
from mstar.stopping import Stopped, say_where


def show(progress: Progress) -> None:
    progress.accuracy("start: accuracy heldout 33.2% [28.8%, 38.0%]")
    with progress.stage("generate", 3, 250, "problems") as advance:
        advance(128)
        advance(122)
    progress.note("temperature [0.7]: held")


def live(shown: StringIO) -> LiveProgress:
    return LiveProgress(Console(file=shown, force_terminal=True, width=140))


def test_plain_lines_when_a_stage_begins_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    show(PlainProgress())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "start: accuracy heldout 33.2% [28.8%, 38.0%]"
    assert lines[1] == "iteration 3 · generate: 250 problems to do"
    assert lines[2].startswith("iteration 3 · generate: 250 problems in ")
    assert lines[3:] == ["temperature [0.7]: held"]


def test_one_is_not_many(capsys: pytest.CaptureFixture[str]) -> None:
    shown = StringIO()
    for progress in (PlainProgress(), live(shown)):
        with progress.stage("score", None, 1, "parts") as advance:
            advance(1)
    text = capsys.readouterr().out
    assert "start · score: 1 part to do" in text and "start · score: 1 part in " in text
    assert "1 part in " in shown.getvalue() and " 1 parts" not in text + shown.getvalue()


def test_a_live_line_with_rate_and_newest_accuracy() -> None:
    shown = StringIO()
    show(live(shown))
    text = shown.getvalue()
    assert "250/250" in text and "problems/s" in text
    assert text.count("accuracy heldout 33.2%") >= 2
    assert "temperature [0.7]: held" in text


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    show(QUIET)
    assert capsys.readouterr().out == ""


def test_a_stage_that_is_stopped_says_how_far_it_was() -> None:
    for progress in (QUIET, PlainProgress(), live(StringIO())):
        with pytest.raises(Stopped) as stop, progress.stage("train", 2, 40, "steps") as advance:
            advance(12)
            raise Stopped(2)
        said = (
            "stopped in iteration 2 · train after 12 of 40 steps; what is finished is kept, the same command"
        )
        assert say_where(stop.value).startswith(said)
        assert stop.value.exit_code == 130
    assert say_where(Stopped(15)) == "stopped; nothing is lost, the same command can be started again"


def test_a_begun_run_says_where_it_goes_on() -> None:
    order = [("evaluate", None)] + [
        (name, turn)
        for turn in range(2)
        for name in ("generate", "score", "select", "train", "evaluate", "adapt")
    ]

    def after(finished: int) -> str | None:
        done = max(0, finished - 1) // 6
        return going_on(lambda *place: place in order[:finished], done, 2)

    assert after(0) is None
    assert after(1) == "goes on with iteration 0 · generate"
    assert after(4) == "goes on with iteration 0 · train"
    assert after(7) == "goes on with iteration 1 · generate"
    assert after(13) == "all iterations are finished already"


def test_the_first_line_waits_for_nothing_slow() -> None:
    """What `mstar run` imports before it says something."""
    code = (
        "import sys, mstar.cli, mstar.config_file, mstar.progress; "
        "slow = {'torch', 'transformers', 'pyarrow', 'numpy', 'PIL', 'jinja2'} & set(sys.modules); "
        "assert not slow, slow"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert opening("strips", "runs/strips").endswith("run strips in runs/strips")
