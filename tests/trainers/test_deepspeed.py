"""The trainer `deepspeed` on a CPU: it learns what `single` learns, on any number of ranks.

`make test-deepspeed` runs these in an environment that has DeepSpeed. Ranks that wait for one another in vain
are ended after two minutes.
"""

import importlib.util
import json
import os
import shutil
import signal
import tempfile
import time
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from mstar.config import Config, Images, Prompt
from mstar.errors import UserError
from mstar.models import Encoder
from mstar.models.probe import read_probe
from mstar.trainers import Lesson, Progressed, build_trainer
from mstar.trainers.batches import plan_batches
from mstar.trainers.checkpoint import load_training_state
from tests.commands import mstar, start
from tests.conftest import BASE
from tests.smoke import smoke_arguments
from tests.trainers.conftest import MakeConfig, MakeLesson, probe_difference, save_to

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None,
    reason="needs DeepSpeed, which make test-deepspeed installs",
)
SECTION = {"learning_rate": 1e-3, "batch_size": 4, "freeze": [], "weight_decay": 0.1, "warmup_steps": 4}
PATIENCE = 120
VARIANT = pytest.mark.variant


@pytest.fixture(autouse=True)
def logs_of_lost_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They stay, and go with the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def configure(make_config: MakeConfig, trainer: str, ranks: int = 1, **changes: Any) -> Config:
    """Keyword arguments replace settings of `train`; `deepspeed` has those of that section."""
    section = {"ranks": ranks, "stalled_seconds": PATIENCE, **changes.pop("deepspeed", {})}
    model = {"path": str(BASE), "threads": 1, **changes.pop("model", {})}
    return make_config(model=model, train={**SECTION, **changes, "trainer": trainer}, deepspeed=section)


def train(config: Config, lesson: Lesson, folder: Path) -> list[Progressed]:
    return list(build_trainer(config).train(lesson, save_to(folder)))


def assert_alike(folder: Path, other: Path, tolerance: float = 1e-4) -> None:
    """The same files, weights and moments, up to rounding."""
    names = {path.name for path in folder.iterdir()}
    assert names == {path.name for path in other.iterdir()}
    [weights] = [name for name in names if name.endswith(".safetensors")]
    found, expected = (load_file(one / weights) for one in (folder, other))
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
    state, wanted = (load_training_state(one) for one in (folder, other))
    assert state.moments.keys() == wanted.moments.keys()
    for name, kinds in state.moments.items():
        assert kinds["step"] == wanted.moments[name]["step"]
        for kind in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(kinds[kind], wanted.moments[name][kind], rtol=0, atol=tolerance)
    assert state.learning_rate == wanted.learning_rate
    noted, said = (read_probe(one, Encoder(one, Images(), Prompt()), []) for one in (folder, other))
    assert noted and said and noted.dtype == said.dtype
    assert probe_difference(noted, said) < noted.tolerance(noted.dtype)


@pytest.mark.parametrize(
    "ranks, stage", [(1, 2), pytest.param(2, 1, marks=VARIANT), (2, 2), pytest.param(2, 3, marks=VARIANT)]
)
def test_twenty_steps_are_those_of_single(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path, ranks: int, stage: int
) -> None:
    lesson, changes = make_lesson(tiny, count=16), {"epochs": 5}
    expected = train(configure(make_config, "single", **changes), lesson, tmp_path / "single")
    config = configure(make_config, "deepspeed", ranks, deepspeed={"zero_stage": stage}, **changes)
    found = train(config, lesson, tmp_path / "zero")
    assert len(found) == len(expected) == 21
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert one.loss == pytest.approx(other.loss, abs=1e-4)
        assert (one.train_step, one.response_tokens) == (other.train_step, other.response_tokens)
    assert_alike(tmp_path / "zero", tmp_path / "single")


def ranks_of(stage: int) -> dict[int, int]:
    """Process numbers of the ranks that a process has started, by rank."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        rank = [line for line in environment if line.startswith(b"RANK=")]
        if int(parent) == stage and rank:
            found[int(rank[0].split(b"=")[1])] = int(folder.name)
    return found


def end(steps: Any, is_killed: bool) -> None:
    """Leave a training in the middle: by its stage, or by the second of its ranks, which is killed."""
    if not is_killed:
        steps.close()
        return
    os.kill(ranks_of(os.getpid())[1], signal.SIGKILL)
    with pytest.raises(UserError, match=r"lost rank 1 of 2, which was ended by SIGKILL \(exit code -9\)"):
        list(steps)
    assert ranks_of(os.getpid()) == {}


def test_a_training_goes_on_with_other_ranks_and_the_other_trainer(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path
) -> None:
    """2 ranks of which one is killed, 1, 2, and `single`, three steps each, from an optimizer that knew the
    text alone so far.
    """
    frozen = configure(make_config, "single", freeze=["vision", "projector"])
    train(frozen, make_lesson(tiny), tmp_path / "first")
    fields = {"count": 16, "inherit_optimizer": True, "seed": 9}
    changes = {"epochs": 3, "checkpoint_every": 3}
    lesson = make_lesson(tmp_path / "first", **fields)
    expected = train(configure(make_config, "single", **changes), lesson, tmp_path / "whole")
    left = None
    for number, (trainer, ranks, stage) in enumerate(
        [("deepspeed", 2, 3), ("deepspeed", 1, 2), ("deepspeed", 2, 1), ("single", 1, 1)]
    ):
        config = configure(make_config, trainer, ranks, deepspeed={"zero_stage": stage}, **changes)
        steps = build_trainer(config).train(
            make_lesson(tmp_path / "first", **fields, interrupted=left), save_to(tmp_path / f"part-{number}")
        )
        for reached in steps:
            if reached.steps_done == 3 * (number + 1):
                left = shutil.copytree(tmp_path / f"part-{number}", tmp_path / f"left-{number}")
                end(steps, is_killed=number == 0)
        assert load_training_state(left).progressed.steps_done == reached.steps_done
    assert (reached.train_step, reached.response_tokens) == (15, expected[-1].response_tokens)
    assert left is not None
    assert_alike(left, tmp_path / "whole")
    taken = {
        name.split(".")[1]: float(one["step"]) for name, one in load_training_state(left).moments.items()
    }
    assert taken == {"visual": 12.0, "language_model": 15.0, "weight": 15.0}


def compare(make_config: MakeConfig, lesson: Lesson, folder: Path, changes: dict[str, Any]) -> None:
    """Both trainers on one lesson, `deepspeed` on two ranks; in bfloat16 they round differently."""
    is_narrow = changes.get("model", {}).get("dtype") == "bfloat16"
    expected = train(configure(make_config, "single", **changes), lesson, folder / "single")
    found = train(configure(make_config, "deepspeed", 2, **changes), lesson, folder / "zero")
    assert found[-1].loss == pytest.approx(expected[-1].loss, abs=0.02 if is_narrow else 1e-4)
    assert_alike(folder / "zero", folder / "single", 0.01 if is_narrow else 1e-4)


def write_problems(folder: Path, with_images: set[int], count: int = 16) -> str:
    """Problems of which some have an image and others are text alone."""
    rows = []
    for number in range(count):
        row = {"id": f"p{number}", "question": f"{number} + 1?", "answer": "2", "answer_type": "number"}
        if number in with_images:
            Image.new("RGB", (28, 28 * (1 + number % 2)), (9 * number, 0, 0)).save(folder / f"{number}.png")
            row["image"] = f"{number}.png"
        rows.append(row)
    (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "problems.jsonl")


@pytest.mark.parametrize(
    "stage, saves_memory",
    [pytest.param(2, False, marks=VARIANT), pytest.param(3, False, marks=VARIANT), (3, True)],
)
def test_rows_with_and_without_images_do_not_wait_for_one_another(
    make_config: MakeConfig,
    make_lesson: MakeLesson,
    tiny: Path,
    tmp_path: Path,
    stage: int,
    saves_memory: bool,
) -> None:
    """Micro-batches of one row each, so that one rank has an image where the other has text, or nothing; also
    where weights and the optimizer are in the CPU's memory, and activations are computed again.
    """
    problems = write_problems(tmp_path, set(range(0, 14, 2)))
    lesson = make_lesson(tiny, count=14, problems=problems)
    changes = {
        "batch_size": 7,
        "epochs": 2,
        "tokens_per_micro_batch": 16,
        "gradient_checkpointing": saves_memory,
        "deepspeed": {
            "zero_stage": stage,
            "offload_optimizer": saves_memory,
            "offload_weights": saves_memory,
        },
    }
    batches = plan_batches(14, configure(make_config, "single", **changes).train, lesson.seed)
    assert all({index % 2 for index in batch} == {0, 1} for batch in batches)
    compare(make_config, lesson, tmp_path, changes)


def test_texts_alone_leave_what_sees_as_it_was(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path
) -> None:
    train(configure(make_config, "single"), make_lesson(tiny), tmp_path / "first")
    problems = write_problems(tmp_path, set())
    lesson = make_lesson(tmp_path / "first", problems=problems, inherit_optimizer=True)
    train(configure(make_config, "single"), lesson, tmp_path / "single")
    config = configure(make_config, "deepspeed", 2, deepspeed={"zero_stage": 3})
    train(config, lesson, tmp_path / "zero")
    assert_alike(tmp_path / "zero", tmp_path / "single")
    config = configure(make_config, "deepspeed", freeze=["text"])
    with pytest.raises(UserError, match=r"reached a part that is trained: train.freeze is \[text\]"):
        train(config, lesson, tmp_path / "nothing")


@pytest.mark.parametrize("stage, dtype", [pytest.param(2, "float32", marks=VARIANT), (3, "bfloat16")])
def test_adapters_learn_and_are_packed(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path, stage: int, dtype: str
) -> None:
    changes = {
        "model": {"path": str(tiny), "dtype": dtype},
        "deepspeed": {"zero_stage": stage},
        "lora": {"rank": 4},
        "packing": True,
        "tokens_per_micro_batch": 100,
    }
    compare(make_config, make_lesson(tiny), tmp_path, changes)
    assert (tmp_path / "zero" / "adapter_model.safetensors").is_file()


@VARIANT
def test_in_bfloat16_memory_is_saved_and_the_same_learned(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path
) -> None:
    changes = {
        "model": {"path": str(tiny), "dtype": "bfloat16"},
        "deepspeed": {"zero_stage": 1, "offload_optimizer": True},
        "gradient_checkpointing": True,
    }
    compare(make_config, make_lesson(tiny), tmp_path, changes)


def test_a_disk_without_room_for_a_checkpoint_is_one_line(
    make_config: MakeConfig, make_lesson: MakeLesson, small_disk: Path
) -> None:
    with pytest.raises(UserError, match="cannot write .*: the disk is full; free some space"):
        train(configure(make_config, "deepspeed"), make_lesson(BASE), small_disk)


def test_a_run_changes_its_trainer_between_iterations_and_not_inside_one(
    problems: Path, tmp_path: Path
) -> None:
    """`single`, `deepspeed` whose rank is killed on the way, and `single` again, by the real command."""
    output, said = tmp_path / "run", tmp_path / "said"
    said.mkdir()

    def arguments(count: int, *overrides: str) -> list[str]:
        return smoke_arguments(problems, output, f"iterations.count={count}", "train.epochs=4", *overrides)

    mstar(*arguments(1))
    spread = arguments(2, "train.trainer=deepspeed", "deepspeed.ranks=2", "model.threads=2")
    process = start(*spread, said=said)
    stage, until = output / "iterations/001/train", time.monotonic() + 2 * PATIENCE
    while not list(stage.glob("checkpoint-*.json")) and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(ranks_of(process.pid or 0)[1], signal.SIGKILL)
    process.join()
    assert process.exitcode == 2
    errors = (said / "errors").read_text()
    assert errors.count("the training lost rank 1 of 2, which was ended by SIGKILL (exit code -9)") == 1
    assert "Traceback" not in errors
    refused = mstar(*arguments(2), check=False)
    assert refused.returncode == 2
    assert "001/train was made with train.trainer = deepspeed, now it is single" in refused.stderr
    assert "training goes on after" in mstar(*spread).stdout
    mstar(*arguments(3))
    reached = []
    for number in range(3):
        [policy] = (output / f"iterations/{number:03d}/train").glob("checkpoint-*/")
        reached.append(load_training_state(policy).progressed)
    assert [one.train_step for one in reached] == list(accumulate(one.steps_done for one in reached))
