"""What a stage is made from: every setting says which stages it changes, and what passes as the same."""

from collections.abc import Callable
from typing import Any

import pytest

from mstar.config import Config
from mstar.fingerprints import before, changed, default_of, effects, may_change, settings_of
from mstar.stages import STAGES

MakeConfig = Callable[..., Config]


def test_every_setting_says_what_it_changes() -> None:
    known = {stage.name for stage in STAGES}
    assert len(effects()) > 60
    for key, effect in effects().items():
        assert set(effect.stages) <= known, key
        assert not (effect.by_content and effect.stages), key


def test_a_section_of_a_stage_changes_that_stage_or_says_that_it_is_free() -> None:
    for stage in STAGES:
        own = {key: effect for key, effect in effects().items() if key.startswith(f"{stage.name}.")}
        assert own, stage.name
        assert any(stage.name in effect.stages for effect in own.values()), stage.name


@pytest.mark.parametrize(
    "stage, key",
    [
        ("evaluate", "adapt.k"),
        ("evaluate", "adapt.balance_target"),
        ("evaluate", "select.threshold"),
        ("evaluate", "generate.max_tokens"),
        ("score", "score.aggregate"),
        ("train", "train.freeze"),
        ("generate", "prompt.max_tokens"),
    ],
)
def test_what_a_stage_reads_is_in_its_fingerprint(make_config: MakeConfig, stage: str, key: str) -> None:
    assert key in settings_of(make_config(), stage)


@pytest.mark.parametrize(
    "key",
    [
        "train.checkpoint_every",
        "model.path",
        "data.tests",
        "data.tests.x",
        "name",
        "generate.engine",
        "train.trainer",
    ],
)
def test_what_changes_no_finished_file_may_change(key: str) -> None:
    assert may_change(key)


@pytest.mark.parametrize("key", ["seed", "train.learning_rate", "evaluate.temperatures", "unheard.of"])
def test_what_changes_files_may_not(key: str) -> None:
    assert not may_change(key)


def test_a_setting_that_is_newer_than_the_record_passes_with_what_runs_did_before(
    make_config: MakeConfig,
) -> None:
    assert (before("train.freeze"), default_of("train.freeze")) == ([], ["vision", "projector"])
    assert before("train.epochs") == default_of("train.epochs") == 1
    present = settings_of(make_config(train={"freeze": []}), "train")
    recorded = {key: value for key, value in present.items() if key not in ("train.freeze", "train.epochs")}
    assert list(changed(recorded, present)) == []
    other = settings_of(make_config(train={"freeze": ["vision"], "epochs": 2}), "train")
    assert list(changed(recorded, other)) == [("train.freeze", [], ["vision"]), ("train.epochs", 1, 2)]


@pytest.mark.parametrize(
    "recorded, present, found",
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("a", 1, 2)]),
        ({}, {"inputs.select": "x"}, [("inputs.select", None, "x")]),
        ({"inputs.select": "x"}, {}, [("inputs.select", "x", None)]),
        ({"train.gone_since": 3}, {}, [("train.gone_since", 3, None)]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, [("a.c", 2, 3)]),
    ],
)
def test_other_differences_are_named(
    recorded: dict[str, Any], present: dict[str, Any], found: list[tuple[str, Any, Any]]
) -> None:
    assert list(changed(recorded, present)) == found


def test_a_record_of_the_first_version_is_read_as_far_as_it_goes() -> None:
    recorded = {"code": "0.1.0", "train": {"epochs": 1}, "policy": {"model.safetensors": 100}}
    assert list(changed(recorded, {"train.epochs": 1, "policy.content": "abc"})) == []
    assert list(changed(recorded, {"train.epochs": 2})) == [("train.epochs", 1, 2)]
