"""Taking up a run: what may differ from its first start, and what is found where."""

from collections.abc import Callable

import pytest

from mstar.config import Config
from mstar.errors import UserError
from mstar.records import State
from mstar.rundir import FIRST_POLICY, RunDir
from mstar.storage import write_text
from tests.conftest import BASE, PROBLEMS

MakeConfig = Callable[..., Config]


def begin(config: Config) -> RunDir:
    """A run in which a stage has left something."""
    run = RunDir.create(config)
    write_text(run.storage, "start/evaluate/manifest.json", "{}")
    return run


def test_before_the_first_stage_everything_may_change(make_config: MakeConfig) -> None:
    RunDir.create(make_config())
    RunDir.create(make_config(seed=5))
    assert RunDir.open(make_config().output).config.seed == 5


@pytest.mark.parametrize(
    "changes",
    [
        {"iterations": {"count": 9, "problems_share": 0.01}},
        {"model": {"path": str(BASE), "threads": 1}},
        {"model": {"path": "/elsewhere/base"}},
        {"data": {"train": "/elsewhere/train.parquet", "validation": "v", "tests": {"heldout": "h"}}},
        {"tracking": {"metrics_port": 9100}},
    ],
)
def test_paths_and_what_changes_no_result_may_change(
    make_config: MakeConfig, changes: dict[str, object]
) -> None:
    begin(make_config())
    changed = make_config(**changes)
    RunDir.create(changed)
    assert RunDir.open(changed.output).config == changed


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"seed": 3}, "seed = 0, now it is 3"),
        ({"adapt": {"policy": "schedule"}}, "adapt.policy = fixed, now it is schedule"),
        ({"model": {"path": str(BASE), "dtype": "bfloat16"}}, "model.dtype = float32, now it is bfloat16"),
    ],
)
def test_what_changes_results_is_refused(
    make_config: MakeConfig, changes: dict[str, object], said: str
) -> None:
    run = begin(make_config())
    with pytest.raises(UserError, match=said):
        RunDir.create(make_config(**changes))
    assert RunDir.open(run.config.output).config == run.config


def test_the_first_iteration_starts_from_the_users_policy(make_config: MakeConfig) -> None:
    run = RunDir.create(make_config(generate={"temperature": 0.7}))
    assert run.state(0) == State(0, FIRST_POLICY, 0.7, 0)
    assert run.policy_folder(FIRST_POLICY) == BASE
    assert "model.safetensors" in run.policy_identity(FIRST_POLICY)


@pytest.mark.parametrize("text", [None, "", "{"])
def test_a_missing_or_damaged_state_says_what_makes_it(make_config: MakeConfig, text: str | None) -> None:
    run = RunDir.create(make_config())
    if text is not None:
        write_text(run.storage, "iterations/001/state.json", text)
    with pytest.raises(UserError, match="iteration 1 needs the decision of iteration 0"):
        run.state(1)


def test_a_damaged_run_file_is_named(make_config: MakeConfig) -> None:
    run = RunDir.create(make_config())
    write_text(run.storage, "run.yaml", "name: [")
    with pytest.raises(UserError, match="run.yaml is damaged"):
        RunDir.open(run.config.output)


def test_a_folder_without_run_file_is_no_run() -> None:
    with pytest.raises(UserError, match="is not a run"):
        RunDir.open(str(PROBLEMS))
