"""The optimizers by name: what 8 bits learn, keep and take up."""

import shutil
import sys
from pathlib import Path

import pytest
import torch

from mstar.errors import UserError
from mstar.trainers import build_trainer
from mstar.trainers.checkpoint import load_training_state
from mstar.trainers.policy import open_policy
from tests.tiny_models import save_tiny_model
from tests.trainers.conftest import MakeConfig, MakeLesson, files_of, save_to

SECTION = {"learning_rate": 3e-3, "batch_size": 4, "epochs": 2, "freeze": []}
LARGE = 4096
"""Numbers of the smallest parameter whose moments have 8 bits."""


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A model some of whose matrices are large enough."""
    return save_tiny_model("qwen3_vl", tmp_path / "wide", intermediate_size=160)


def losses(
    make_config: MakeConfig, make_lesson: MakeLesson, model: Path, out: Path, name: str
) -> list[float]:
    config = make_config(train={**SECTION, "optimizer": name})
    steps = list(build_trainer(config).train(make_lesson(model), save_to(out)))
    return [step.loss for step in steps if step.loss is not None]


def test_eight_bits_learn_about_the_same(
    make_config: MakeConfig, make_lesson: MakeLesson, wide: Path, tmp_path: Path
) -> None:
    found = losses(make_config, make_lesson, wide, tmp_path / "8bit", "adamw_8bit")
    exact = losses(make_config, make_lesson, wide, tmp_path / "exact", "adamw")
    assert found != exact and found == pytest.approx(exact, rel=0.02) and found[-1] < 0.9 * found[0]


def test_moments_of_large_matrices_are_small(
    make_config: MakeConfig, make_lesson: MakeLesson, wide: Path, tmp_path: Path
) -> None:
    losses(make_config, make_lesson, wide, tmp_path / "out", "adamw_8bit")
    moments = load_training_state(tmp_path / "out").moments
    parameters = dict(open_policy(wide, make_config(train=SECTION)).model.named_parameters())
    large = {name for name in moments if parameters[name].numel() >= LARGE}
    assert 4 < len(large) < len(moments)
    for name, kinds in moments.items():
        dtype = torch.uint8 if name in large else torch.float32
        assert kinds["exp_avg"].dtype == kinds["exp_avg_sq"].dtype == dtype
        assert float(kinds["step"]) == 6.0
        numbers = parameters[name].numel()
        if name in large:
            assert sum(one.nbytes for one in kinds.values()) <= 2 * numbers + 8 * (numbers // 256 + 1) + 4


def test_a_killed_training_ends_like_one_that_was_not(
    make_config: MakeConfig, make_lesson: MakeLesson, wide: Path, tmp_path: Path
) -> None:
    config = make_config(train={**SECTION, "optimizer": "adamw_8bit", "checkpoint_every": 2})
    list(build_trainer(config).train(make_lesson(wide), save_to(tmp_path / "whole")))
    killed = build_trainer(config).train(make_lesson(wide), save_to(tmp_path / "part"))
    for _ in range(4):
        next(killed)
    killed.close()  # type: ignore[attr-defined]
    shutil.copytree(tmp_path / "part", tmp_path / "interrupted")
    lesson = make_lesson(wide, interrupted=tmp_path / "interrupted")
    list(build_trainer(config).train(lesson, save_to(tmp_path / "resumed")))
    assert files_of(tmp_path / "resumed") == files_of(tmp_path / "whole")


def test_without_bitsandbytes_one_line_says_what_to_install(
    make_config: MakeConfig, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(UserError, match=r"needs bitsandbytes, and that .* pip install 'mstar\[8bit\]'"):
        open_policy(tiny, make_config(train={"optimizer": "adamw_8bit"}))
