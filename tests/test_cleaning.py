"""`mstar clean` deletes what does not count, and nothing else, whoever is at work."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mstar.cleaning import clean, plan_cleaning
from mstar.config import Config
from mstar.config_file import dump_config
from mstar.errors import UserError
from mstar.records import Decision
from mstar.rundir import RunDir
from mstar.stage_notes import Begun
from mstar.stagedir import StageDir
from mstar.stages import ADAPT, stage_prefix
from mstar.storage import build_storage, write_text
from mstar.storage.folder import SCRATCH
from mstar.verification import verify
from tests.commands import mstar, start
from tests.smoke import fingerprints
from tests.test_checkpoints import ACCURACIES, finish_iteration, kept

SCORE, TRAIN = "iterations/000/score", "iterations/000/train"
MakeConfig = Callable[..., Config]


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def leave_orphans(run: Path) -> None:
    """What killed processes leave in a finished stage and in scratch, and a file of the user's."""
    (run / SCORE / "begun.json").write_text("{}")
    (run / SCORE / "part-00000-000000000000.parquet").write_text("left")
    (run / TRAIN / "checkpoint-000000000000").mkdir()
    (run / TRAIN / "checkpoint-000000000000" / "model.safetensors").write_text("left")
    (run / SCRATCH / "dead.part").mkdir(parents=True)
    (run / SCRATCH / "dead.part" / "model.safetensors").write_text("half")
    (run / SCRATCH / "dead.lock").write_text("")
    (run / "notes.txt").write_text("mine")


def test_a_finished_run_has_nothing_to_delete(run: Path) -> None:
    assert "there is nothing to delete" in mstar("clean", str(run)).stdout


def test_leftovers_go_and_what_counts_stays(run: Path, finished: Path) -> None:
    leave_orphans(run)
    before = fingerprints(run)
    said = mstar("clean", str(run), "--dry-run").stdout
    assert "4 files or folders (0.0 MB) would be deleted" in said
    assert fingerprints(run) == before
    refused = mstar("clean", str(run), check=False)
    assert refused.returncode == 2
    assert f"mstar clean {run} --yes does it" in refused.stderr
    assert fingerprints(run) == before
    said = mstar("clean", str(run), "--yes").stdout
    assert f"orphaned    {SCORE}/begun.json: " in said
    assert "unknown     notes.txt: no file of mstar's; it is left alone" in said
    assert (run / "notes.txt").read_text() == "mine"
    (run / "notes.txt").unlink()
    assert fingerprints(run) == fingerprints(finished)
    assert list((run / SCRATCH).iterdir()) == []
    assert verify(str(run), build_storage(str(run))).findings == ()


def test_two_at_once_leave_the_run_whole(run: Path, finished: Path) -> None:
    """The second one waits for its turn, or is refused; what it was to delete may be gone."""
    leave_orphans(run)
    (run / "notes.txt").unlink()
    started = [start("clean", str(run), "--yes") for _ in range(3)]
    for process in started:
        process.join()
    assert {process.exitcode for process in started} <= {0, 2}
    assert 0 in {process.exitcode for process in started}
    assert fingerprints(run) == fingerprints(finished)


def test_while_a_loop_is_at_work_nothing_is_deleted(run: Path) -> None:
    leave_orphans(run)
    with build_storage(str(run)).hold():
        refused = mstar("clean", str(run), "--yes", check=False)
    assert refused.returncode == 2
    assert "another mstar is at work" in refused.stderr
    assert (run / SCORE / "begun.json").exists()


def test_what_is_damaged_or_in_hand_is_left_as_it_is(run: Path) -> None:
    leave_orphans(run)
    next((run / SCORE).glob("part-00001-*")).unlink()
    in_hand = run / "iterations/001/adapt"
    shutil.rmtree(in_hand)
    in_hand.mkdir()
    (in_hand / "begun.json").write_text(json.dumps({"fingerprint": {}, "version": 1}))
    (in_hand / "made-000000000000.parquet").write_text("by somebody at work")
    said = mstar("clean", str(run), "--yes").stdout
    assert "left, as the stage is damaged and may be being made again" in said
    assert "left, as the stage is not finished" in said
    assert (run / SCORE / "begun.json").exists()
    assert (run / SCORE / "part-00000-000000000000.parquet").exists()
    assert len(list(in_hand.iterdir())) == 2
    assert not (run / TRAIN / "checkpoint-000000000000").exists()


def test_what_came_to_count_after_it_was_agreed_stays(make_config: MakeConfig) -> None:
    config = make_config()
    run = RunDir(build_storage(config.output), config)
    stage = StageDir(run.storage, stage_prefix("select", 0), Begun({}, 1))
    stage.begin()
    with stage.write("selected.parquet") as path:
        path.write_text("good")
    stage.commit({}, [])
    write_text(run.storage, f"{stage.prefix}/selected-000000000000.parquet", "left")
    agreed = plan_cleaning(run)
    assert [one.key.rpartition("/")[2] for one in agreed.deleted] == ["selected-000000000000.parquet"]
    (Path(config.output) / stage.prefix / "manifest.json").unlink()
    assert clean(run, agreed).deleted == ()
    assert len(run.storage.keys(stage.prefix)) == 1


def run_of_four(config: Config) -> RunDir:
    run = RunDir(build_storage(config.output), config)
    write_text(run.storage, "run.yaml", dump_config(config))
    for iteration, accuracy in enumerate(ACCURACIES):
        finish_iteration(run, iteration, accuracy)
        adapt = StageDir(run.storage, stage_prefix("adapt", iteration), Begun({}, ADAPT.version))
        adapt.begin()
        adapt.commit(Decision(iteration, 1.0, "as a test says"), [])
    return run


def test_checkpoints_that_the_setting_does_not_keep_go(make_config: MakeConfig) -> None:
    """As after a run of stage commands: only the loop deletes them by itself."""
    config = make_config(train={"learning_rate": 1e-4, "batch_size": 4, "keep_checkpoints": 1})
    run_of_four(config)
    said = mstar("clean", config.output, "--yes").stdout
    assert said.count("superseded  iterations/") == 2
    assert "2 files or folders" in said
    opened = RunDir(build_storage(config.output), config)
    assert kept(opened) == [1, 3]
    assert opened.finished(ADAPT, 3)
    with pytest.raises(UserError, match="train.keep_checkpoints has let it go"):
        opened.policy_folder(opened.policy_after(2)).__enter__()
    assert "there is nothing to delete" in mstar("clean", config.output).stdout


def test_a_checkpoint_that_was_to_go_when_its_process_was_killed_goes(make_config: MakeConfig) -> None:
    config = make_config()
    run = run_of_four(config)
    folder = run.policy_after(0)
    note = {folder.rpartition("/")[2]: "superseded"}
    write_text(run.storage, f"{stage_prefix('train', 0)}/removed.json", json.dumps(note))
    mstar("clean", config.output, "--yes")
    assert kept(run) == [1, 2, 3]
