"""What one iteration's training takes over from the ones before, through the real stage."""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from safetensors.torch import load_file

from mstar.config import Config
from mstar.datasets import open_problems
from mstar.errors import UserError
from mstar.model_folders import PROBE
from mstar.records import Response, Selected, State
from mstar.response_parts import write_responses
from mstar.rundir import RunDir
from mstar.selection import SELECTED
from mstar.stages import SELECT, TRAIN
from mstar.starting import open_run, start_run
from mstar.storage.folder import FolderStorage
from mstar.stored_names import CHECKPOINT, describe_folder, folder_sha256, stored_name
from mstar.trainers.checkpoint import load_training_state
from mstar.training import train
from mstar.work import Turn, Work, perform
from tests.commands import start
from tests.conftest import BASE, PROBLEMS

MakeConfig = Callable[..., Config]
IDS = open_problems(PROBLEMS / "train.parquet").ids[:12]


def select_by_hand(run: RunDir, iteration: int, ids: Sequence[str]) -> None:
    def work_on(work: Work) -> Selected | None:
        with work.folder.write(SELECTED) as path:
            write_responses(
                path,
                [Response(i, 0, f"Answer:{iteration}", 4, False, 1.0, "1", True, None, 1.0) for i in ids],
            )
        return work.commit([SELECTED], Selected)

    perform(SELECT, Turn(run, iteration), {}, work_on)


def policy_of(run: RunDir, iteration: int) -> Path:
    """The checkpoint that an iteration ended with."""
    with run.policy_folder(run.policy_after(iteration)) as folder:
        return folder


def train_twice(config: Config) -> tuple[Path, Path]:
    """Checkpoints of two iterations: of 8 responses, and of 4 others."""
    run = start_run(config)
    select_by_hand(run, 0, IDS[:8])
    train(run, 0)
    run.write_state(State(1, run.policy_after(0), 1.0, config.seed))
    select_by_hand(run, 1, IDS[8:])
    train(run, 1)
    return policy_of(run, 0), policy_of(run, 1)


@pytest.mark.parametrize(
    "inherit, steps, moments_steps, examples",
    [
        ("optimizer", [2, 3], [2.0, 3.0], 4),
        ("weights", [2, 1], [2.0, 1.0], 4),
        ("none", [2, 3], [2.0, 3.0], 12),
    ],
)
def test_what_is_inherited(
    make_config: MakeConfig, inherit: str, steps: list[int], moments_steps: list[float], examples: int
) -> None:
    config = make_config(
        train={"inherit": inherit, "learning_rate": 1e-3, "batch_size": 4, "warmup_steps": 4}
    )
    states = [load_training_state(folder) for folder in train_twice(config)]
    assert [state.progressed.train_step for state in states] == steps
    for state, expected in zip(states, moments_steps, strict=True):
        assert {float(kinds["step"]) for kinds in state.moments.values()} == {expected}
    assert states[1].learning_rate == pytest.approx(1e-3 * steps[1] / 4)
    trained = open_run(config.output).result(TRAIN, 1)
    assert (trained.examples, trained.train_steps) == (examples, -(-examples // 4))


def test_only_a_restart_does_without_the_checkpoint_before(make_config: MakeConfig) -> None:
    for inherit in ("none", "weights"):
        output = f"{make_config().output}-{inherit}"
        run = start_run(make_config(output=output, train={"inherit": inherit, "batch_size": 4}))
        select_by_hand(run, 0, IDS[:4])
        train(run, 0)
        run.write_state(State(1, run.policy_after(0), 1.0, 0))
        select_by_hand(run, 1, IDS[4:8])
        shutil.rmtree(policy_of(run, 0))
        if inherit == "none":
            train(run, 1)
            assert (policy_of(run, 1) / "model.safetensors").is_file()
        else:
            with pytest.raises(UserError, match="is gone"):
                train(run, 1)


def test_a_policy_that_is_trained_again_gets_the_files_that_it_had(make_config: MakeConfig) -> None:
    """Of before there were probes, say: its manifest stays what the later stages were made from."""
    run = start_run(make_config(train={"batch_size": 4}))
    select_by_hand(run, 0, IDS[:4])
    train(run, 0)
    policy, manifest = policy_of(run, 0), Path(run.config.output) / "iterations/000/train/manifest.json"
    facts = json.loads(manifest.read_text())
    assert facts["files"].pop(f"{policy.name}/{PROBE}")
    (policy / PROBE).unlink()
    older = policy.with_name(stored_name(CHECKPOINT, folder_sha256(describe_folder(policy))))
    facts["files"] = {key.replace(policy.name, older.name): entry for key, entry in facts["files"].items()}
    policy.rename(older)
    manifest.write_text(json.dumps(facts, indent=2) + "\n")
    train(open_run(run.config.output), 0)
    before = manifest.read_bytes()
    (older / "model.safetensors").write_bytes(b"damaged")
    train(open_run(run.config.output), 0)
    assert manifest.read_bytes() == before
    assert load_file(older / "model.safetensors")


def test_nothing_selected_leaves_the_policy(make_config: MakeConfig) -> None:
    config = make_config()
    run = start_run(config)
    select_by_hand(run, 0, [])
    trained = train(run, 0)
    assert policy_of(run, 0) == BASE
    assert trained is not None and trained.train_steps == 0


def test_a_killed_training_leaves_the_same_manifest(make_config: MakeConfig) -> None:
    manifests = []
    for name in ("whole", "killed"):
        section = {"batch_size": 2, "checkpoint_every": 1, "learning_rate": 1e-4}
        config = make_config(output=f"{make_config().output}-{name}", train=section)
        run = start_run(config)
        select_by_hand(run, 0, IDS)
        if name == "killed":
            kill_after_first_checkpoint(config.output)
            assert not run.is_finished(TRAIN.name, 0)
        train(run, 0)
        manifests.append(run.finished(TRAIN, 0).manifest)
    whole, killed = manifests
    assert whole == killed
    assert run.result(TRAIN, 0).train_steps == 6


class Loses(FolderStorage):
    """A folder in which the note of the last checkpoint goes once, as soon as it is written."""

    has_lost = False

    def publish(self, path: Path, key: str, replace: bool = False, durable: bool = True) -> bool:
        is_note = key.rpartition("/")[2].startswith("checkpoint-") and key.endswith(".json")
        is_last = is_note and json.loads(path.read_text())["done"] == 3
        found = super().publish(path, key, replace, durable)
        if is_last and not self.has_lost:
            self.has_lost = True
            self.remove(key)
        return found


def test_an_earlier_checkpoint_never_stands_for_the_last_one(make_config: MakeConfig) -> None:
    config = make_config(train={"batch_size": 4, "checkpoint_every": 1, "learning_rate": 1e-4})
    run = start_run(config)
    select_by_hand(run, 0, IDS)
    storage = Loses(Path(config.output))
    train(RunDir(storage, config), 0)
    assert storage.has_lost
    assert load_training_state(policy_of(run, 0)).progressed.steps_done == 3


def kill_after_first_checkpoint(output: str) -> None:
    process = start("train", "--run", output, "--iteration", "0")
    while not list(Path(output).glob("iterations/000/train/checkpoint-*.json")):
        assert process.is_alive()
        time.sleep(0.01)
    process.kill()
    process.join()
