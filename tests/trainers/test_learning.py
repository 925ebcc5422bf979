"""The optimizer's side: what a step's gradient is, and that any loss learns through the same loop."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from mstar.config import Config
from mstar.config_train import Train
from mstar.models import load_model
from mstar.trainers import Lesson, Progressed
from mstar.trainers.learning import Learner, learning_rate_at
from mstar.trainers.losses import ModelWithLoss, response_loss
from mstar.trainers.policy import Policy, open_policy
from mstar.trainers.rows import IGNORED, LessonRows, Row, cut_micro_batches, pad_rows
from tests.commands import SERVER
from tests.trainers.conftest import MakeConfig, MakeLesson


def accumulate(policy: Policy, rows: Sequence[Row], config: Train) -> float:
    micro_batches = cut_micro_batches(rows, policy.encoder, config)
    return policy.learner.accumulate(micro_batches, sum(row.learned for row in rows))[0]


def gradients_of(policy: Policy) -> Tensor:
    return torch.cat([p.grad.flatten() for p in policy.model.parameters() if p.grad is not None])


def test_loss_is_the_mean_over_response_tokens_however_it_is_cut(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path
) -> None:
    losses, gradients = [], []
    for max_padding, tokens, packing in (
        (0.1, 16_384, True),
        (0.1, 200, True),
        (0.9, 16_384, False),
        (0.0, 16_384, False),
        (0.9, 16, False),
    ):
        section = {"max_padding": max_padding, "tokens_per_micro_batch": tokens, "packing": packing}
        config = make_config(train={"freeze": [], **section})
        policy = open_policy(tiny, config)
        rows = LessonRows(make_lesson(tiny), policy.encoder).read(range(12))
        losses.append(accumulate(policy, rows, config.train))
        gradients.append(gradients_of(policy))
    assert losses == pytest.approx([losses[0]] * 5, rel=1e-5)
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0], rtol=1e-3, atol=1e-6)
    assert losses[0] == pytest.approx(_loss_by_hand(policy, rows), rel=1e-5)


def _loss_by_hand(policy: Policy, rows: Sequence[Row]) -> float:
    """One row at a time, with the model's own forward and nothing masked but the prompt."""
    total = 0.0
    for row in rows:
        with torch.no_grad():
            logits = policy.model(**pad_rows([row], policy.encoder).inputs).logits[0]
        first = len(row.encoded.ids) - row.learned
        targets = torch.tensor(row.encoded.ids[first:])
        total += float(functional.cross_entropy(logits[first - 1 : -1], targets, reduction="sum"))
    return total / sum(row.learned for row in rows)


def test_gradient_checkpointing_computes_twice_and_learns_the_same(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path
) -> None:
    found = []
    for checkpointing in (False, True):
        config = make_config(train={"freeze": [], "gradient_checkpointing": checkpointing})
        policy = open_policy(tiny, config)
        calls: list[None] = []
        for layer in policy.model.model.language_model.layers:
            layer.mlp.register_forward_pre_hook(lambda *_, calls=calls: calls.append(None))
        rows = LessonRows(make_lesson(tiny), policy.encoder).read(range(12))
        loss = accumulate(policy, rows, config.train)
        found.append((len(calls), loss, gradients_of(policy)))
    (calls_before, loss_before, before), (calls_after, loss_after, after) = found
    assert calls_after == 2 * calls_before > 0
    assert loss_after == loss_before
    assert torch.equal(after, before)


def test_dropout_is_at_work_while_training(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path
) -> None:
    config = make_config(train={"freeze": []})
    policy = open_policy(tiny, config)
    for layer in policy.model.model.language_model.layers:
        layer.self_attn.attention_dropout = 0.5
    rows = LessonRows(make_lesson(tiny), policy.encoder).read(range(12))
    losses = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        losses.append(accumulate(policy, rows, config.train))
    assert losses[0] == losses[2] != losses[1]


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    """A process group of one, over gloo."""
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_a_wrapper_sees_every_gradient(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, one_process: None
) -> None:
    config = make_config(train={"freeze": [], "max_padding": 0.9})
    gradients, seen = [], []
    for wrap in (False, True):
        policy = open_policy(tiny, config)
        forward: nn.Module = ModelWithLoss(policy.model, response_loss)
        if wrap:
            forward = DistributedDataParallel(forward)
            forward.register_comm_hook(seen, _remember)  # type: ignore[operator]
        learner = Learner(policy.model, forward, config.train)
        rows = LessonRows(make_lesson(tiny), policy.encoder).read(range(12))
        learner.accumulate([pad_rows(rows, policy.encoder)], sum(row.learned for row in rows))
        gradients.append(gradients_of(policy))
    assert torch.equal(gradients[0], gradients[1])
    assert sum(seen) == sum(p.numel() for p in policy.model.parameters())


def _remember(seen: list[int], bucket: torch.distributed.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """A hook that reduces nothing, and counts the gradients that it was given."""
    seen.append(bucket.buffer().numel())
    done: torch.futures.Future[Tensor] = torch.futures.Future()
    done.set_result(bucket.buffer())
    return done


RANKS = 2
PATIENCE = 120
"""Seconds after which a rank that waits for another has waited in vain."""


def test_two_ranks_learn_what_one_learns(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path
) -> None:
    config, lesson = make_config(train={"freeze": [], "max_padding": 0.9}), make_lesson(tiny)
    alone = open_policy(tiny, config)
    rows = LessonRows(lesson, alone.encoder).read(range(12))
    accumulate(alone, rows, config.train)
    arguments = (config, lesson, tmp_path)
    ranks = [
        SERVER.Process(target=_learn_a_share, args=(rank, *arguments), daemon=True) for rank in range(RANKS)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(PATIENCE)
    assert [rank.exitcode for rank in ranks] == [0] * RANKS, "a rank has failed, or waits for another"
    expected = gradients_of(alone)
    for number in range(RANKS):
        assert torch.allclose(torch.load(tmp_path / f"gradients-{number}"), expected, rtol=1e-4, atol=1e-7)


def _learn_a_share(rank: int, config: Config, lesson: Lesson, folder: Path) -> None:
    """One of the ranks: its share of the rows, and the gradients that it has in the end.

    One thread, as ranks on few cores take them from one another; a rank that waits in vain fails.
    """
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(str(folder / "store"), RANKS)
    torch.distributed.init_process_group(
        "gloo", timeout=timedelta(seconds=PATIENCE), store=store, rank=rank, world_size=RANKS
    )
    policy = open_policy(lesson.policy, config)
    forward = DistributedDataParallel(ModelWithLoss(policy.model, response_loss))
    rows = LessonRows(lesson, policy.encoder).read(range(12))
    share = [pad_rows(rows[rank::RANKS], policy.encoder)]
    learned = sum(row.learned for row in rows)
    Learner(policy.model, forward, config.train).accumulate(
        share, learned / RANKS
    )  # DDP takes the ranks' mean
    torch.save(gradients_of(policy), folder / f"gradients-{rank}")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


class ScoredModel(nn.Module):
    """A policy with a score for every position, as a process reward model has."""

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.policy = policy
        self.head = nn.Linear(32, 1)


def squared_error(model: Any, inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
    hidden = model.policy.model(**inputs, use_cache=False).last_hidden_state
    learned = labels != IGNORED
    scores = model.head(hidden[learned])[:, 0].sigmoid()
    return ((scores - labels[learned]) ** 2).sum()


def test_another_loss_learns_through_the_same_loop(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path
) -> None:
    config = make_config(train={"learning_rate": 1e-2})
    encoder = open_policy(tiny, config).encoder
    torch.manual_seed(0)
    model = ScoredModel(load_model(tiny, config.model, torch.float32))
    learner = Learner(model, ModelWithLoss(model, squared_error), config.train)
    rows = []
    for number, row in enumerate(LessonRows(make_lesson(tiny), encoder).read(range(12))):
        labels = [*[IGNORED] * (len(row.encoded.ids) - 1), float(number % 2)]
        rows.append(replace(row, labels=labels, learned=1))
    progressed = Progressed(0)
    for _ in range(30):
        progressed = learner.step(cut_micro_batches(rows, encoder, config.train), len(rows), progressed)
    assert progressed.steps_done == 30
    assert progressed.first_loss is not None and progressed.loss is not None
    assert progressed.first_loss > 0.15
    assert progressed.loss < 0.5 * progressed.first_loss
    assert "head.weight" in learner.moments()


def test_learning_rate_rises_and_stays() -> None:
    config = Train(learning_rate=1e-5, warmup_steps=4)
    rates = [learning_rate_at(step, config) for step in range(1, 7)]
    assert rates == pytest.approx([0.25e-5, 0.5e-5, 0.75e-5, 1e-5, 1e-5, 1e-5])
    assert learning_rate_at(1, Train(learning_rate=1e-5)) == 1e-5
