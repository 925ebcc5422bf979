"""What a checkpoint says of its own weights, against what transformers reads from its files."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mstar.config import Config
from mstar.engines.probe import expect, find_out
from mstar.model_folders import PROBE
from mstar.models import Encoder
from mstar.models.loading import load_generation_config
from mstar.models.probe import Probe, read_probe
from mstar.models.tokens import banned_ids, end_ids
from mstar.trainers import Lesson, build_trainer
from tests.trainers.conftest import MakeConfig, MakeLesson, files_of, probe_difference, save_to

LEARNED = {"learning_rate": 1e-2, "batch_size": 4, "freeze": []}


def train(config: Config, lesson: Lesson, folder: Path) -> Path:
    list(build_trainer(config).train(lesson, save_to(folder)))
    return folder


def noted_and_found(policy: Path, config: Config) -> tuple[Probe, Probe]:
    """What training has noted, and what its files say; what is banned is said as the engine says it."""
    encoder = Encoder(policy, config.images, config.prompt)
    named = load_generation_config(policy, None, encoder.config)
    vocabulary_size = encoder.config.get_text_config(decoder=True).vocab_size
    banned = banned_ids(encoder, vocabulary_size, end_ids(encoder, named))
    noted, found = read_probe(policy, encoder, banned), find_out(policy, config, encoder, banned)
    assert noted and expect(policy, config, encoder, banned) == (noted, True)
    return noted, found


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"packing": True, "gradient_checkpointing": True},
        {"lora": {"rank": 4, "dropout": 0.5}},
    ],
)
def test_training_notes_what_its_files_say(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    config = make_config(model={"path": str(tiny)}, train=LEARNED | changes)
    policy = train(config, make_lesson(tiny), tmp_path / "policy")
    noted, found = noted_and_found(policy, config)
    assert len(noted.expected) == 2 and noted.dtype == "float32" and noted.maker.startswith("transformers ")
    assert probe_difference(noted, found) < 1e-3


def test_arithmetic_in_bfloat16_stays_within_its_tolerance(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path
) -> None:
    narrow = {"path": str(tiny), "dtype": "bfloat16"}
    config = make_config(model=narrow, train=LEARNED | {"lora": {"rank": 4}})
    noted, found = noted_and_found(train(config, make_lesson(tiny), tmp_path / "policy"), config)
    assert noted.dtype == "bfloat16"
    assert probe_difference(noted, found) < noted.tolerance("bfloat16")


def test_weights_that_were_changed_are_told(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path
) -> None:
    config = make_config(train=LEARNED)
    policy = train(config, make_lesson(tiny), tmp_path / "policy")
    weights = load_file(policy / "model.safetensors")
    first, second = (f"model.language_model.layers.{number}.mlp.up_proj.weight" for number in (0, 1))
    weights[first], weights[second] = weights[second], weights[first]
    save_file(weights, policy / "model.safetensors", metadata={"format": "pt"})
    noted, found = noted_and_found(policy, config)
    assert probe_difference(noted, found) > noted.tolerance("float32")


@pytest.mark.parametrize("lora", [None, {"rank": 4, "dropout": 0.5}])
def test_looking_changes_nothing_that_is_learned(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path, lora: dict[str, Any] | None
) -> None:
    """After every step, or at the end alone, whatever torch's random numbers are."""
    section = LEARNED | ({"lora": lora} if lora else {})
    found = []
    for every in (1, 100):
        config = make_config(model={"path": str(tiny)}, train=section | {"checkpoint_every": every})
        torch.manual_seed(every)
        found.append(files_of(train(config, make_lesson(tiny), tmp_path / str(every))))
    assert found[0] == found[1] and found[0][PROBE]
