"""Which policies stay (`train.keep_checkpoints`), on a run of real stage folders."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mstar import estimates, records
from mstar.checkpoints import remove_superseded
from mstar.config import Config
from mstar.errors import UserError
from mstar.records import Report, State, Trained
from mstar.rundir import RunDir
from mstar.stage_notes import Begun
from mstar.stagedir import StageDir
from mstar.stages import EVALUATE, TRAIN, stage_prefix
from mstar.storage import build_storage
from tests.commands import mstar
from tests.sharing import made_once
from tests.smoke import fingerprints, smoke_arguments

MakeConfig = Callable[..., Config]
ACCURACIES = (0.3, 0.9, 0.5, 0.6)


def finish_iteration(run: RunDir, iteration: int, accuracy: float, trained: bool = True) -> None:
    train = StageDir(run.storage, stage_prefix("train", iteration), Begun({}, TRAIN.version))
    train.begin()
    if trained:
        with train.write_checkpoint(1) as path:
            path.mkdir()
            (path / "model.safetensors").write_text(f"weights of iteration {iteration}")
    newest = train.newest_checkpoint() if trained else None
    train.commit(Trained(1, 1, iteration + 1, 10, 0.0, 1.0, 1.0), [], newest)
    evaluate = StageDir(run.storage, stage_prefix("evaluate", iteration), Begun({}, EVALUATE.version))
    right = estimates.share([number < accuracy * 10 for number in range(10)])
    report = Report(iteration, {"heldout": records.TestReport(right, {}, 1.0, 0)})
    evaluate.begin()
    evaluate.commit(report, [])
    run.write_state(State(iteration + 1, run.policy_after(iteration), 1.0, 0))


def kept(run: RunDir) -> list[int]:
    folders = Path(run.config.output).glob("iterations/*/train/checkpoint-*/")
    return sorted(int(folder.parts[-3]) for folder in folders)


def make(config: Config, untrained: tuple[int, ...] = ()) -> RunDir:
    run = RunDir(build_storage(config.output), config)
    for iteration, accuracy in enumerate(ACCURACIES):
        finish_iteration(run, iteration, accuracy, iteration not in untrained)
        remove_superseded(run, iteration)
    return run


def test_all_stay_by_default(make_config: MakeConfig) -> None:
    assert kept(make(make_config())) == [0, 1, 2, 3]


def test_the_newest_and_the_best_stay(make_config: MakeConfig) -> None:
    run = make(make_config(train={"keep_checkpoints": 1}))
    assert kept(run) == [1, 3]
    assert kept(make(make_config(output=f"{run.config.output}2", train={"keep_checkpoints": 2}))) == [1, 2, 3]


def test_what_went_does_not_make_its_stage_undone(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    run = make(make_config(train={"keep_checkpoints": 1}))
    for iteration in range(4):
        assert StageDir(run.storage, stage_prefix("train", iteration), Begun({}, TRAIN.version)).done
    assert "is gone" not in caplog.text
    note = json.loads((Path(run.config.output) / "iterations/000/train/removed.json").read_text())
    assert list(note.values()) == ["superseded; train.keep_checkpoints"]


def test_a_policy_that_a_later_iteration_goes_on_with_stays(make_config: MakeConfig) -> None:
    """Iterations 2 and 3 selected nothing, so the policy of iteration 1 is still the newest."""
    assert kept(make(make_config(train={"keep_checkpoints": 1}), untrained=(2, 3))) == [1]


def test_a_policy_that_went_and_is_asked_for_says_how_to_get_it_back(make_config: MakeConfig) -> None:
    run = make(make_config(train={"keep_checkpoints": 1}))
    said = f"the policy of iteration 0 is needed again, .*; mstar run {run.config.output}/run.yaml trains it"
    with pytest.raises(UserError, match=said), run.policy_folder(run.policy_after(0)):
        pass


@pytest.fixture(scope="module")
def thinned(problems: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that learns next to nothing, so that its first policy stays as the best one."""
    settings = (
        "iterations={count: 4, problems_share: 0.0625}",
        f"data.tests={{six_terms: {problems}/six_terms.parquet}}",
        "data.validation=null",
        "adapt.policy=fixed",
        "train.learning_rate=1e-7",
        "train.keep_checkpoints=1",
    )
    output = made_once(
        tmp_path_factory, "thinned", lambda output: mstar(*smoke_arguments(problems, output, *settings))
    )
    policies = (output / "iterations").glob("*/train/checkpoint-*/")
    assert sorted(folder.parts[-3] for folder in policies) == ["000", "003"]
    return output


@pytest.mark.parametrize("lost", ["001/evaluate", "003/generate/part-00000*", "003/train/manifest.json"])
def test_damage_behind_policies_that_went_is_made_good(lost: str, thinned: Path, tmp_path: Path) -> None:
    """They are trained again, each from the one before, and go again: the run ends as it was."""
    output = shutil.copytree(thinned, tmp_path / "run")
    before = fingerprints(output)
    (damaged,) = (output / "iterations").glob(lost)
    shutil.rmtree(damaged) if damaged.is_dir() else damaged.unlink()
    again = mstar("run", str(output / "run.yaml"), "--set", f"output={output}")
    assert "is needed again: it is trained anew" in again.stderr + again.stdout
    assert fingerprints(output) == before
