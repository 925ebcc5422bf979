"""Runs that earlier versions made: what is finished stays, and the run goes on.

`tests/runs/<version>` holds a run of that version with its model and problems, one iteration finished and
the next one begun. (A model of random weights, taught to say yes or no.)
"""

import shutil
from pathlib import Path

import pytest

from mstar.report import summarise
from mstar.starting import open_run
from tests.test_loop import mstar

RUNS = Path(__file__).parent / "runs"
VERSIONS = sorted(path.name for path in RUNS.iterdir())


def test_there_is_an_earlier_run() -> None:
    assert "0.1.0" in VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_finished_stays_and_the_run_goes_on(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(RUNS / version, tmp_path / "earlier")
    monkeypatch.chdir(folder)
    finished = {
        path: path.read_bytes() for path in sorted(folder.glob("run/iterations/000/**/*")) if path.is_file()
    }
    assert len(finished) > 20
    went_on = mstar("run", "config.yaml")
    assert "goes on with iteration 1 · generate" in went_on.stdout
    assert {path: path.read_bytes() for path in finished} == finished
    assert "iteration 0 · " not in went_on.stdout
    summary = summarise(open_run("run"))
    assert summary.iterations == 2
    assert summary.tests["heldout"].first.problems == summary.tests["heldout"].last.problems == 8
    train = open_run("run").config.train
    assert train.freeze == ()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_stage_command_accepts_it_too(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(RUNS / version, tmp_path / "earlier")
    monkeypatch.chdir(folder)
    mstar("run", "config.yaml", "--prepare")
    again = mstar("train", "--run", "run", "--iteration", "0")
    assert again.stdout == ""
    assert "damaged" not in again.stderr and "made again" not in again.stderr


@pytest.mark.parametrize("version", VERSIONS)
def test_its_optimizer_is_taken_over(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(RUNS / version, tmp_path / "earlier")
    monkeypatch.chdir(folder)
    mstar("run", "config.yaml")
    run = open_run("run")
    from mstar.stages import TRAIN

    first, second = (run.result(TRAIN, iteration) for iteration in (0, 1))
    assert second.train_step == first.train_step + second.train_steps
