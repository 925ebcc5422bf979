"""Runs that earlier versions made: what is finished stays, and the run goes on.

`tests/runs/<version>` holds a run of that version with its model and problems, one iteration finished and
the next one begun. (A model of random weights, taught to say yes or no.)
"""

import shutil
from contextlib import chdir
from pathlib import Path
from typing import NamedTuple

import pytest

from mstar.report.summary import summarise
from mstar.stages import TRAIN
from mstar.starting import open_run
from tests.commands import mstar

RUNS = Path(__file__).parent / "runs"
VERSIONS = sorted(path.name for path in RUNS.iterdir())


class WentOn(NamedTuple):
    """An earlier run after its end: its folder, what was finished before with its contents, what was said."""

    folder: Path
    finished: dict[Path, bytes]
    said: str


@pytest.fixture(scope="module", params=VERSIONS)
def continued(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> WentOn:
    folder = shutil.copytree(RUNS / request.param, tmp_path_factory.mktemp("runs") / "earlier")
    paths = [path for path in sorted(folder.glob("run/iterations/000/**/*")) if path.is_file()]
    finished = {path: path.read_bytes() for path in paths}
    with chdir(folder):
        return WentOn(folder, finished, mstar("run", "config.yaml").stdout)


@pytest.fixture
def went_on(continued: WentOn, monkeypatch: pytest.MonkeyPatch) -> WentOn:
    """Its paths are relative, so tests stand in its folder."""
    monkeypatch.chdir(continued.folder)
    return continued


def test_there_is_an_earlier_run() -> None:
    assert "0.1.0" in VERSIONS


def test_what_is_finished_stays_and_the_run_goes_on(went_on: WentOn) -> None:
    assert len(went_on.finished) > 20
    assert "goes on with iteration 1 · generate" in went_on.said
    assert {path: path.read_bytes() for path in went_on.finished} == went_on.finished
    assert "iteration 0 · " not in went_on.said
    summary = summarise(open_run("run"))
    assert summary.iterations == 2
    assert summary.tests["heldout"].first.problems == summary.tests["heldout"].last.problems == 8
    assert open_run("run").config.train.freeze == ()


def test_a_stage_command_accepts_it_too(went_on: WentOn) -> None:
    again = mstar("train", "--run", "run", "--iteration", "0")
    assert again.stdout == "iteration 0 · train is finished already\n"
    assert "damaged" not in again.stderr and "made again" not in again.stderr
    assert {path: path.read_bytes() for path in went_on.finished} == went_on.finished


def test_its_optimizer_is_taken_over(went_on: WentOn) -> None:
    first, second = (open_run("run").result(TRAIN, iteration) for iteration in (0, 1))
    assert second.train_step == first.train_step + second.train_steps
