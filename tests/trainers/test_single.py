"""The trainer of one process: what is learned, and that a training can be left and taken up exactly."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mstar.config import Config
from mstar.errors import UserError
from mstar.trainers import Lesson, build_trainer
from mstar.trainers.checkpoint import load_training_state
from mstar.trainers.single import SingleTrainer
from tests.commands import SERVER
from tests.conftest import BASE
from tests.trainers.conftest import MakeConfig, MakeLesson, files_of, save_to, steps_saved


def test_loss_falls_and_the_checkpoint_loads(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path
) -> None:
    config = make_config(train={"learning_rate": 3e-3, "batch_size": 4, "epochs": 8, "freeze": []})
    steps = list(build_trainer(config).train(make_lesson(tiny), save_to(tmp_path / "out")))
    assert [one.train_step for one in steps] == list(range(25))
    assert [one.steps_done for one in steps] == list(range(25))
    first, last = steps[-1].first_loss, steps[-1].loss
    assert first == steps[1].loss
    assert first is not None and last is not None and last < 0.7 * first
    lesson = make_lesson(tmp_path / "out", seed=8)
    again = list(build_trainer(config).train(lesson, save_to(tmp_path / "next")))
    assert again[1].loss is not None and again[1].loss < 0.8 * first


def test_moments_step_and_rate_go_on_where_inherited(
    make_config: MakeConfig, make_lesson: MakeLesson, tmp_path: Path
) -> None:
    config = make_config(train={"learning_rate": 1e-3, "batch_size": 4, "warmup_steps": 6, "freeze": []})
    steps = list(build_trainer(config).train(make_lesson(BASE), save_to(tmp_path / "first")))
    before = load_training_state(tmp_path / "first")
    assert before.progressed == steps[-1]
    assert steps[-1].train_step == 3
    assert before.learning_rate == pytest.approx(1e-3 * 3 / 6)

    second = make_lesson(tmp_path / "first", inherit_optimizer=True, seed=9)
    steps = list(build_trainer(config).train(second, save_to(tmp_path / "second")))
    after = load_training_state(tmp_path / "second")
    assert [one.train_step for one in steps] == [3, 4, 5, 6]
    assert after.learning_rate == pytest.approx(1e-3)
    assert {float(moments["step"]) for moments in after.moments.values()} == {6.0}


def test_moments_are_absent_where_not_inherited(
    make_config: MakeConfig, make_lesson: MakeLesson, tmp_path: Path
) -> None:
    config = make_config(train={"learning_rate": 1e-3, "batch_size": 4})
    list(build_trainer(config).train(make_lesson(BASE), save_to(tmp_path / "first")))
    lesson = make_lesson(tmp_path / "first", seed=9)
    steps = build_trainer(config).train(lesson, save_to(tmp_path / "second"))
    assert [one.train_step for one in steps] == [0, 1, 2, 3]
    moments = load_training_state(tmp_path / "second").moments
    assert {float(kinds["step"]) for kinds in moments.values()} == {3.0}


def add_dropout(folder: Path) -> None:
    config = (folder / "config.json").read_text()
    assert '"attention_dropout": 0.0' in config
    (folder / "config.json").write_text(
        config.replace('"attention_dropout": 0.0', '"attention_dropout": 0.3')
    )


def test_a_killed_training_ends_like_one_that_was_not(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path
) -> None:
    add_dropout(tiny)
    config = make_config(train={"learning_rate": 1e-3, "batch_size": 4, "checkpoint_every": 2, "epochs": 2})
    whole = list(build_trainer(config).train(make_lesson(tiny), save_to(tmp_path / "whole")))
    assert steps_saved(tmp_path / "whole") == [2, 4, 6]
    killed = build_trainer(config).train(make_lesson(tiny), save_to(tmp_path / "part"))
    for _ in range(4):
        next(killed)
    killed.close()  # type: ignore[attr-defined]
    assert load_training_state(tmp_path / "part").progressed.steps_done == 2
    shutil.copytree(tmp_path / "part", tmp_path / "interrupted")
    resumed = make_lesson(tiny, interrupted=tmp_path / "interrupted")
    steps = list(build_trainer(config).train(resumed, save_to(tmp_path / "resumed")))
    assert [one.train_step for one in steps] == [2, 3, 4, 5, 6]
    assert steps[-1] == whole[-1]
    assert steps_saved(tmp_path / "resumed") == [4, 6]
    assert files_of(tmp_path / "resumed") == files_of(tmp_path / "whole")


@pytest.mark.parametrize(
    "every, minutes, expected",
    [(4, 1e6, [4, 8, 12]), (500, 4.0, [5, 9, 12]), (4, 5.0, [4, 8, 12]), (4, 2.0, [3, 5, 7, 9, 11, 12])],
)
def test_checkpoints_come_by_steps_or_minutes(
    make_config: MakeConfig,
    make_lesson: MakeLesson,
    tiny: Path,
    tmp_path: Path,
    every: int,
    minutes: float,
    expected: list[int],
) -> None:
    section = {"batch_size": 1, "checkpoint_every": every, "checkpoint_minutes": minutes}
    seconds = 0.0
    trainer = SingleTrainer(make_config(train=section), clock=lambda: seconds)
    steps = trainer.train(make_lesson(tiny), save_to(tmp_path / "out"))
    for _ in steps:
        seconds += 60  # every step but the first takes a minute
    assert steps_saved(tmp_path / "out") == expected


def test_packing_may_change_where_a_training_was_left(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path
) -> None:
    """Twenty steps padded, packed, and half of each: the same losses and weights up to rounding."""
    section = {"learning_rate": 1e-3, "batch_size": 3, "epochs": 5, "tokens_per_micro_batch": 100}
    padded = make_config(train={**section, "freeze": []})
    packed = make_config(train={**section, "freeze": [], "packing": True})
    whole = list(build_trainer(padded).train(make_lesson(tiny), save_to(tmp_path / "padded")))
    other = list(build_trainer(packed).train(make_lesson(tiny), save_to(tmp_path / "packed")))
    half = make_config(train={**section, "freeze": [], "checkpoint_every": 10})
    begun = build_trainer(half).train(make_lesson(tiny), save_to(tmp_path / "half"))
    for _ in range(12):
        next(begun)
    begun.close()  # type: ignore[attr-defined]
    shutil.copytree(tmp_path / "half", tmp_path / "left")
    resumed = make_lesson(tiny, interrupted=tmp_path / "left")
    rest = list(build_trainer(packed).train(resumed, save_to(tmp_path / "mixed")))
    assert (len(whole), len(rest)) == (21, 11)
    assert whole[-1].padded_tokens > rest[-1].padded_tokens > other[-1].padded_tokens == 0
    assert files_of(tmp_path / "packed")["config.json"] == files_of(tmp_path / "padded")["config.json"]
    expected = load_file(tmp_path / "padded" / "model.safetensors")
    for steps, name in ((other, "packed"), (rest, "mixed")):
        assert steps[-1].loss == pytest.approx(whole[-1].loss, rel=1e-4)
        torch.testing.assert_close(
            load_file(tmp_path / name / "model.safetensors"), expected, rtol=0, atol=1e-4
        )


def train_elsewhere(config: Config, lesson: Lesson, folder: Path) -> None:
    torch.set_num_threads(1)
    for _ in build_trainer(config).train(lesson, save_to(folder)):
        pass


def test_a_lesson_crosses_into_another_process(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path
) -> None:
    config = make_config(
        model={"path": str(tiny), "threads": 1}, train={"learning_rate": 1e-3, "batch_size": 4}
    )
    arguments = (config, make_lesson(tiny), tmp_path / "elsewhere")
    process = SERVER.Process(target=train_elsewhere, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0
    train_elsewhere(config, make_lesson(tiny), tmp_path / "here")
    assert files_of(tmp_path / "elsewhere") == files_of(tmp_path / "here")


def test_a_loss_that_is_no_number_stops_the_training(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path
) -> None:
    weights = load_file(tiny / "model.safetensors")
    weights["lm_head.weight"] *= 1e38  # still finite, but no logit is
    save_file(weights, tiny / "model.safetensors", metadata={"format": "pt"})
    config = make_config(train={"batch_size": 4})
    with pytest.raises(UserError, match="at train step .* must be finite"):
        for _ in build_trainer(config).train(make_lesson(tiny), save_to(tmp_path / "out")):
            pass
    assert not (tmp_path / "out").exists()


def test_texts_alone_are_refused_where_only_the_vision_tower_learns(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path
) -> None:
    problems = tmp_path / "texts.jsonl"
    row = {"question": "1+1?", "answer": "2", "answer_type": "number"}
    problems.write_text("".join(json.dumps({"id": f"p{number}", **row}) + "\n" for number in range(12)))
    config = make_config(train={"batch_size": 4, "freeze": ["text"]})
    with pytest.raises(UserError, match=r"reached a part that is trained: train.freeze is \[text\]"):
        list(
            build_trainer(config).train(make_lesson(tiny, problems=str(problems)), save_to(tmp_path / "out"))
        )
    assert not (tmp_path / "out").exists()
