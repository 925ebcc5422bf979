"""Who of several ranks learns which rows, and what is said where DeepSpeed or its GPUs are missing."""

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mstar.errors import UserError
from mstar.starting import start_run
from mstar.trainers import build_trainer
from mstar.trainers.deepspeed import count_ranks
from mstar.trainers.policy import open_policy
from mstar.trainers.rows import IGNORED, LessonRows, pad_rows
from mstar.trainers.shares import deal, find_filler, has_image, with_fillers
from tests.conftest import parse_small
from tests.trainers.conftest import MakeConfig, MakeLesson


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 9))
def test_every_row_is_dealt_once_and_no_rank_has_much_more(lengths: list[int], ranks: int) -> None:
    hands = deal(lengths, ranks)
    assert len(hands) == ranks
    assert sorted(index for hand in hands for index in hand) == list(range(len(lengths)))
    assert max(map(len, hands)) - min(map(len, hands)) <= 1
    held = [sum(lengths[index] for index in hand) for hand in hands]
    assert max(held) - min(held) <= max(lengths, default=0)


def test_one_rank_has_all_rows() -> None:
    assert sorted(deal([3, 1, 2], 1)[0]) == [0, 1, 2]


def test_fillers_teach_nothing_and_show_an_image_where_others_do(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path
) -> None:
    policy = open_policy(tiny, make_config())
    rows = LessonRows(make_lesson(tiny), policy.encoder)
    filler = find_filler(rows)
    assert has_image(filler) and filler.encoded.is_whole
    assert set(filler.labels) == {IGNORED} and len(filler.labels) == len(filler.encoded.ids)
    own = rows.read(range(3))
    groups = with_fillers([own[:2], own[2:]], filler, 4)
    assert groups == [own[:2], own[2:], [filler], [filler]]
    loss, *_ = policy.learner.accumulate([pad_rows([filler], policy.encoder)], 1)
    gradients = [one.grad for one in policy.learner.trained.values()]
    assert loss == 0 and all(one is not None and not one.any() for one in gradients)


def test_what_to_install_is_one_line_before_anything_is_written(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    said = r"is deepspeed, which is not installed: pip install 'mstar\[deepspeed\]', or take single"
    with pytest.raises(UserError, match=said):
        build_trainer(parse_small(train={"trainer": "deepspeed"}))
    config = make_config(train={"trainer": "deepspeed"})
    with pytest.raises(UserError, match=said):
        start_run(config)
    assert not Path(config.output).exists()


def test_ranks_are_the_gpus_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert count_ranks(parse_small()) == 1
    assert count_ranks(parse_small(deepspeed={"ranks": 3})) == 3
    on_gpus = {"path": "policy", "device": "cuda"}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert count_ranks(parse_small(model=on_gpus)) == 4
    assert count_ranks(parse_small(model=on_gpus, deepspeed={"ranks": 2})) == 2
    with pytest.raises(UserError, match="deepspeed.ranks is 8, and torch sees 4 GPUs"):
        count_ranks(parse_small(model=on_gpus, deepspeed={"ranks": 8}))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match="torch sees no GPU"):
        count_ranks(parse_small(model=on_gpus))


def test_moments_of_8_bits_are_not_shared_out() -> None:
    with pytest.raises(
        UserError, match="optimizer is adamw_8bit, which trainer deepspeed does not have; take"
    ):
        parse_small(train={"trainer": "deepspeed", "optimizer": "adamw_8bit"})


def test_weights_are_offloaded_only_where_they_are_shared() -> None:
    with pytest.raises(UserError, match="offload_weights needs zero_stage 3, and it is 2"):
        parse_small(deepspeed={"offload_weights": True})
