"""Figures in MLflow, W&B and TensorBoard, offline, read back from what their own libraries wrote."""

import logging
import shutil
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mstar import records, tracking
from mstar.config import Config
from mstar.errors import UserError
from mstar.evaluation import REST
from mstar.rundir import RunDir
from mstar.starting import start_run
from mstar.storage import build_storage
from mstar.trackers import check_trackers, run_identity
from mstar.tracking import Feed, open_tracking, read_figures
from tests.commands import call, main, mstar, start
from tests.conftest import parse_small
from tests.smoke import smoke_arguments
from tests.tracked import ALL, INSTALLED, expected_points, need, offline, read_held

MakeConfig = Callable[..., Config]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where trackers keep what they get."""
    folder = tmp_path / "tracked"
    folder.mkdir()
    for variable, value in offline(folder).items():
        monkeypatch.setenv(variable, value)
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A run that ended before anybody tracked it."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def make_small_run(output: Path, *names: str) -> RunDir:
    return RunDir(build_storage(str(output)), parse_small(output=str(output), tracking={"to": list(names)}))


@pytest.mark.parametrize("name", ALL)
def test_every_stage_is_told_once(name: str, problems: Path, copied: Path, folder: Path) -> None:
    need(name)
    first = mstar(*smoke_arguments(problems, copied, f"tracking.to=[{name}]"))
    again = mstar(*smoke_arguments(problems, copied, f"tracking.to=[{name}]", "score.workers=2"))
    assert first.stderr + again.stderr == ""
    held = read_held(name, folder, copied)
    assert len(expected_points(copied)) > 50
    assert held.points == expected_points(copied)
    assert held.pages == ["report.html"] and len(held.names) == 1
    if name != "tensorboard":
        assert held.parameters["score.workers"] == "1"
        assert held.parameters["generate.engine"].strip('"') == "transformers"


@pytest.mark.parametrize("name", ["mlflow", "tensorboard"])
def test_what_arrived_before_a_kill_is_not_told_again(
    name: str, problems: Path, copied: Path, folder: Path
) -> None:
    """Killed between the tracker's answer and the note of it in the run."""
    need(name)
    mstar(*smoke_arguments(problems, copied, f"tracking.to=[{name}]"))
    shutil.rmtree(copied / "tracking" / name)
    mstar(*smoke_arguments(problems, copied, f"tracking.to=[{name}]"))
    assert read_held(name, folder, copied).points == expected_points(copied)


def test_a_killed_run_goes_on_in_the_same_tracked_run(problems: Path, tmp_path: Path, folder: Path) -> None:
    """Once each, but for what W&B was being handed in the moment of the kill: see docs/tracking.md."""
    if not INSTALLED:
        need(ALL[0])
    output = tmp_path / "killed"
    small = ("iterations={count: 1, problems_share: 0.125}", "data.validation=null", "adapt.policy=fixed")
    arguments = smoke_arguments(problems, output, f"tracking.to=[{', '.join(INSTALLED)}]", *small)
    process = start(*arguments)
    notes = [output / "tracking" / name / "iterations/000/train" for name in INSTALLED]
    while not all(note.exists() for note in notes):
        assert process.is_alive()
        time.sleep(0.01)
    process.kill()
    process.join()
    noted = {name: places(output / "tracking" / name) for name in INSTALLED}
    mstar(*arguments)
    expected = expected_points(output)
    assert all({"generate", "train"} <= {place.name for place in noted[name]} for name in INSTALLED)
    for name in INSTALLED:
        held = read_held(name, folder, output)
        assert held.points.keys() == expected.keys() and len(held.names) == 1
        for (key, step), values in held.points.items():
            place = Path(f"iterations/{step:03}" if step >= 0 else "", key.split("/")[0])
            may_come_twice = name == "wandb" and place not in noted[name]
            assert values[:1] == expected[key, step] and len(set(values)) == 1, (name, key)
            assert len(values) == 1 or may_come_twice, (name, key)


def places(notes: Path) -> set[Path]:
    """The stages' folders that a tracker has, by its notes."""
    return {note.relative_to(notes) for note in notes.rglob("*") if note.is_file()}


def test_a_stage_command_tells_its_stage(make_config: MakeConfig, folder: Path) -> None:
    need("tensorboard")
    config = make_config(
        generate={"samples_per_problem": 2, "max_tokens": 20}, tracking={"to": ["tensorboard"]}
    )
    start_run(config)
    mstar("generate", "--run", config.output, "--iteration", "0")
    points = read_held("tensorboard", folder, Path(config.output)).points
    assert points[("generate/responses", 0)] == [40] and ("generate/seconds", 0) in points
    assert {name.split("/")[0] for name, _ in points} == {"generate"}


def test_nothing_is_written_where_nothing_is_asked_for(finished: Path) -> None:
    assert not (finished / "tracking").exists() and not (finished / "tensorboard").exists()


def impatient(*arguments: str) -> None:
    """The command, which waits for one second at its end instead of fifteen."""
    tracking.PATIENCE_SECONDS = 1.0
    main(*arguments)


def test_a_server_that_does_not_answer_is_told_of_once_and_told_later(
    problems: Path, copied: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("mlflow")
    arguments = smoke_arguments(problems, copied, "tracking.to=[mlflow]")
    with socket.create_server(("127.0.0.1", 0)) as silent, monkeypatch.context() as context:
        context.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        deaf = call(impatient, *arguments)
    assert deaf.stderr.count("mlflow does not take the run's figures (no answer for ") == 1
    assert len(deaf.stderr.splitlines()) == 1 and "report: " in deaf.stdout
    assert mstar(*arguments).stderr == ""
    assert read_held("mlflow", folder, copied).points == expected_points(copied)


def test_a_tracker_that_fails_is_asked_again_after_the_next_stage(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    need("tensorboard")
    run = make_small_run(tmp_path / "run", "tensorboard")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/tensorboard").write_text("in the way")
    with caplog.at_level(logging.WARNING), open_tracking(run) as tracking:
        for iteration in (0, 1):
            tracking.observe_stage("select", iteration, records.Selected(kept=iteration))
        while not caplog.messages:
            time.sleep(0.01)
        (tmp_path / "run/tensorboard").unlink()
        tracking.observe_stage("select", 2, records.Selected(kept=2))
        tracking.observe_stage("select", 3, None)
    (warning,) = caplog.messages
    assert "a part of the path is a file" in warning and "the run goes on without it" in warning
    points = read_held("tensorboard", folder, tmp_path / "run").points
    assert [points[("select/kept", step)] for step in range(3)] == [[0], [1], [2]]
    assert ("select/kept", 3) not in points


def test_a_finished_run_asks_no_tracker(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All of it was told: no library is imported and no server is asked."""
    run = make_small_run(tmp_path / "run", "mlflow")
    figures = read_figures(run, "select", 0, records.Selected(kept=1))
    for key in (figures.place, "report.html"):
        note = tmp_path / "run/tracking/no_such_library" / key
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text("logged\n")
    feed = Feed("no_such_library", run)
    feed.log(figures)
    feed.finish()
    feed.end()
    feed.wait()
    assert caplog.messages == []


def test_the_rest_of_the_test_sets_joins_the_evaluation(tmp_path: Path) -> None:
    run = make_small_run(tmp_path / "run")
    share = records.Estimate(0.5, 0.4, 0.6, 80)
    report = records.Report(1, {"six_terms": records.TestReport(share, {}, 30.0, 1)})
    figures = read_figures(run, REST, 1, report)
    assert figures.values["evaluate/accuracy.six_terms"] == 0.5
    after = read_figures(run, "generate", 2, records.Sampled(1, 2, 30, 0))
    assert read_figures(run, "adapt", 1, report).number < figures.number < after.number


def test_the_first_of_several_processes_names_the_run(tmp_path: Path) -> None:
    names = {run_identity(make_small_run(tmp_path / "run")) for _ in range(3)}
    assert len(names) == 1 and run_identity(make_small_run(tmp_path / "other")) not in names


@pytest.mark.parametrize("name", ALL)
def test_a_missing_library_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"tracking.to has {name}, .* pip install 'mstar\[{name}\]'"):
        check_trackers([name])


@pytest.mark.parametrize("name, variable", [("mlflow", "MLFLOW_TRACKING_URI"), ("wandb", "WANDB_API_KEY")])
def test_a_run_without_an_address_does_not_start(
    name: str, variable: str, problems: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(name)
    for other in (variable, "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(other, raising=False)
    refused = mstar(*smoke_arguments(problems, tmp_path / "run", f"tracking.to=[{name}]"), check=False)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: tracking.to has {name}") and variable in refused.stderr
    assert not (tmp_path / "run").exists()
