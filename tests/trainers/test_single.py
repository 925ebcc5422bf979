"""The trainer: what is learned, how batches are cut, and that a training can be left and taken up exactly."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.nn import functional

from mstar.config import Config, Train
from mstar.datasets import open_problems
from mstar.errors import UserError
from mstar.records import Problem
from mstar.trainers import Example, Lesson, Progressed, build_trainer
from mstar.trainers.checkpoint import load_training_state
from mstar.trainers.single import LessonRows, Policy, learning_rate_at, plan_batches, plan_micro_batches
from tests.conftest import BASE, PROBLEMS
from tests.tiny_models import save_tiny_model

MakeConfig = Callable[..., Config]
TEXTS = ["Answer:12", "Read:8+6-2;8+6=14;14-2=12;Answer:12", "Read:3+4;3+4=7;Answer:7", "Answer:b"]


def read_problems(rows: Sequence[int]) -> list[Problem]:
    return open_problems(PROBLEMS / "train.parquet").read(rows)


def lesson(policy: Path, count: int = 12, **changes: Any) -> Lesson:
    examples = [Example(row, TEXTS[row % len(TEXTS)]) for row in range(count)]
    fields = {"policy": policy, "inherit_optimizer": False, "interrupted": None, "examples": examples}
    return Lesson(**{**fields, "read_problems": read_problems, "seed": 7, **changes})


def save_to(folder: Path) -> Callable[[], Any]:
    @contextmanager
    def open_folder() -> Iterator[Path]:
        shutil.rmtree(folder, ignore_errors=True)
        yield folder

    return open_folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return save_tiny_model("qwen3_vl", tmp_path / "tiny")


def test_loss_falls_and_the_checkpoint_loads(make_config: MakeConfig, tiny: Path, tmp_path: Path) -> None:
    config = make_config(train={"learning_rate": 3e-3, "batch_size": 4, "epochs": 8})
    steps = list(build_trainer(config).train(lesson(tiny), save_to(tmp_path / "out")))
    assert [one.train_step for one in steps] == list(range(25))
    assert [one.steps_done for one in steps] == list(range(25))
    first = steps[-1].first_loss
    assert first == steps[1].loss
    assert steps[-1].loss < 0.7 * first
    again = list(build_trainer(config).train(lesson(tmp_path / "out", seed=8), save_to(tmp_path / "next")))
    assert again[1].loss < 0.8 * first


def test_loss_is_the_mean_over_response_tokens_however_it_is_cut(make_config: MakeConfig, tiny: Path) -> None:
    losses, gradients = [], []
    for max_padding, tokens in ((0.9, 16_384), (0.0, 16_384), (0.9, 16)):
        section = {"batch_size": 12, "max_padding": max_padding, "tokens_per_micro_batch": tokens}
        policy = Policy(tiny, make_config(train={**section, "learning_rate": 1e-30, "max_grad_norm": 1e9}))
        policy.optimizer.zero_grad = lambda set_to_none=True: None  # type: ignore[method-assign]
        rows = LessonRows(lesson(tiny), policy.encoder).read(range(12))
        progressed = policy.step(rows, Progressed(0))
        losses.append(progressed.loss)
        gradients.append(
            torch.cat([p.grad.flatten() for p in policy.model.parameters() if p.grad is not None])
        )
    assert progressed.response_tokens == sum(row.response_tokens for row in rows)
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0], rtol=1e-3, atol=1e-6)
    assert losses[0] == pytest.approx(_loss_by_hand(policy, rows), rel=1e-5)


def _loss_by_hand(policy: Policy, rows: Sequence[Any]) -> float:
    """One row at a time, with the model's own forward and nothing masked but the prompt."""
    total = 0.0
    for row in rows:
        batch, _ = policy.collate_rows([row])
        with torch.no_grad():
            logits = policy.model(**batch).logits[0]
        first = len(row.encoded.ids) - row.response_tokens
        targets = torch.tensor(row.encoded.ids[first:])
        total += float(functional.cross_entropy(logits[first - 1 : -1], targets, reduction="sum"))
    return total / sum(row.response_tokens for row in rows)


def test_the_response_and_its_end_are_learned_and_nothing_else(make_config: MakeConfig, tiny: Path) -> None:
    policy = Policy(tiny, make_config())
    rows = LessonRows(lesson(tiny), policy.encoder).read(range(4))
    batch, labels = policy.collate_rows(rows)
    for index, text in enumerate(TEXTS):
        learned = labels[index][labels[index] != -100].tolist()
        assert learned == policy.encoder.encode_response(text)
        places = (labels[index] != -100).nonzero()[:, 0]
        assert torch.equal(batch["input_ids"][index, places + 1], labels[index, places])
    assert policy.encoder.tokenizer.eos_token_id == learned[-1]


def test_prompts_that_do_not_fit_are_encoded_when_needed(
    make_config: MakeConfig, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Policy(tiny, make_config()).encoder
    held = LessonRows(lesson(tiny), encoder)
    monkeypatch.setattr("mstar.trainers.single.HELD_BYTES", 0)
    needed = LessonRows(lesson(tiny), encoder)
    assert (len(held.held), len(needed.held)) == (12, 0)
    for one, other in zip(held.read([3, 1, 3]), needed.read([3, 1, 3]), strict=True):
        assert one.encoded.ids == other.encoded.ids
        assert all(torch.equal(a, b) for a, b in zip(one.encoded.pixels, other.encoded.pixels, strict=True))


def test_moments_step_and_rate_go_on_where_inherited(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(train={"learning_rate": 1e-3, "batch_size": 4, "warmup_steps": 6})
    steps = list(build_trainer(config).train(lesson(BASE), save_to(tmp_path / "first")))
    before = load_training_state(tmp_path / "first")
    assert before.progressed == steps[-1]
    assert steps[-1].train_step == 3
    assert before.learning_rate == pytest.approx(1e-3 * 3 / 6)

    inheriting = Policy(tmp_path / "first", config)
    inheriting.restore(before)
    held = inheriting.state(before.progressed).moments
    assert set(held) == {name for name, _ in inheriting.model.named_parameters()}
    for name, moments in before.moments.items():
        for kind in ("exp_avg", "exp_avg_sq", "step"):
            assert torch.equal(held[name][kind], moments[kind]), (name, kind)
    assert max(float(moments["exp_avg"].abs().max()) for moments in held.values()) > 0

    second = lesson(tmp_path / "first", inherit_optimizer=True, seed=9)
    steps = list(build_trainer(config).train(second, save_to(tmp_path / "second")))
    after = load_training_state(tmp_path / "second")
    assert [one.train_step for one in steps] == [3, 4, 5, 6]
    assert after.learning_rate == pytest.approx(1e-3)
    assert {float(moments["step"]) for moments in after.moments.values()} == {6.0}


def test_moments_are_absent_where_not_inherited(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(train={"learning_rate": 1e-3, "batch_size": 4})
    list(build_trainer(config).train(lesson(BASE), save_to(tmp_path / "first")))
    steps = build_trainer(config).train(lesson(tmp_path / "first", seed=9), save_to(tmp_path / "second"))
    assert [one.train_step for one in steps] == [0, 1, 2, 3]
    moments = load_training_state(tmp_path / "second").moments
    assert {float(kinds["step"]) for kinds in moments.values()} == {3.0}


def test_a_killed_training_ends_like_one_that_was_not(
    make_config: MakeConfig, tiny: Path, tmp_path: Path
) -> None:
    config = make_config(train={"learning_rate": 1e-3, "batch_size": 4, "checkpoint_every": 2, "epochs": 2})
    whole = list(build_trainer(config).train(lesson(tiny), save_to(tmp_path / "whole")))
    killed = build_trainer(config).train(lesson(tiny), save_to(tmp_path / "part"))
    for _ in range(4):
        next(killed)
    killed.close()  # type: ignore[attr-defined]
    assert load_training_state(tmp_path / "part").progressed.steps_done == 2
    shutil.copytree(tmp_path / "part", tmp_path / "interrupted")
    resumed = lesson(tiny, interrupted=tmp_path / "interrupted")
    steps = list(build_trainer(config).train(resumed, save_to(tmp_path / "resumed")))
    assert [one.train_step for one in steps] == [2, 3, 4, 5, 6]
    assert steps[-1] == whole[-1]
    assert files_of(tmp_path / "resumed") == files_of(tmp_path / "whole")


def test_a_loss_that_is_no_number_stops_the_training(
    make_config: MakeConfig, tiny: Path, tmp_path: Path
) -> None:
    weights = load_file(tiny / "model.safetensors")
    next(iter(weights.values())).view(-1)[0] = torch.nan
    save_file(weights, tiny / "model.safetensors", metadata={"format": "pt"})
    config = make_config(train={"batch_size": 4})
    with pytest.raises(UserError, match="at train step .* must be finite"):
        for _ in build_trainer(config).train(lesson(tiny), save_to(tmp_path / "out")):
            pass
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_without_state_cannot_be_inherited(make_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no training state"):
        list(
            build_trainer(make_config()).train(lesson(BASE, inherit_optimizer=True), save_to(tmp_path / "x"))
        )


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60), st.floats(0, 0.5), st.integers(300, 2000))
def test_micro_batches_keep_to_their_limits(lengths: list[int], max_padding: float, tokens: int) -> None:
    groups = plan_micro_batches(lengths, Train(max_padding=max_padding, tokens_per_micro_batch=tokens))
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        size = max(lengths[index] for index in group) * len(group)
        assert size <= tokens
        assert size - sum(lengths[index] for index in group) <= max_padding * size + 1e-9


def test_batches_are_a_fresh_order_every_epoch() -> None:
    batches = plan_batches(10, Train(batch_size=4, epochs=2), seed=1)
    assert [len(batch) for batch in batches] == [4, 4, 2, 4, 4, 2]
    first, second = sum(batches[:3], []), sum(batches[3:], [])
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert plan_batches(10, Train(batch_size=4, epochs=2), seed=1) == batches


def test_learning_rate_rises_and_stays() -> None:
    config = Train(learning_rate=1e-5, warmup_steps=4)
    rates = [learning_rate_at(step, config) for step in range(1, 7)]
    assert rates == pytest.approx([0.25e-5, 0.5e-5, 0.75e-5, 1e-5, 1e-5, 1e-5])
    assert learning_rate_at(1, Train(learning_rate=1e-5)) == 1e-5
