"""The compiled pipelines and the command line agree: every task is a command that works, and leaves what its
component has declared.
"""

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tests.commands import mstar
from tests.kubeflow.interpreter import Interpreter, Task
from tests.smoke import SMOKE, fingerprints, of_first_iteration, smoke_arguments


def do(task: Task) -> None:
    assert task.command[0] == "mstar"
    mstar(*task.command[1:])


@pytest.fixture(scope="module")
def evolve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Room for more turns than the run has."""
    folder = tmp_path_factory.mktemp("compiled")
    mstar("pipeline", "compile", str(SMOKE), "--set", "cluster.turns=3", "--output", str(folder))
    return folder / "mstar-evolve.yaml"


def overrides(problems: Path, output: Path) -> list[str]:
    given = smoke_arguments(problems, output, "iterations.count=1")
    return [one for one in given[2:] if one != "--set"]


def test_the_pipeline_leaves_the_files_of_mstar_run(
    evolve: Path, problems: Path, finished: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    pipeline = Interpreter.read(evolve, tmp_path / "outputs", do)
    given = {"config": str(SMOKE), "overrides": overrides(problems, output), "shards": 2}
    pipeline.run(**given)
    assert fingerprints(output) == of_first_iteration(fingerprints(finished))
    counts = Counter(task.name for task in pipeline.done)
    assert counts == {
        "prepare": 1, "begin": 3, "generate": 2, "score": 2, "select": 1, "train": 1, "evaluate": 6,
        "adapt": 1, "report": 1,
    }  # fmt: skip
    each = sum(counts[name] for name in ("generate", "score", "select", "train", "adapt")) + 2 + 1
    assert each <= 3 * 2 + 4
    metrics = [_metrics(task) for task in pipeline.done if task.name == "evaluate"]
    assert sum("accuracy.heldout" in one for one in metrics) == 2, "the last share of each has the figures"
    again = Interpreter.read(evolve, tmp_path / "again", do)
    again.run(**given)
    assert "generate" not in Counter(task.name for task in again.done), (
        "a finished iteration is one short task"
    )


def _metrics(task: Task) -> dict[str, float]:
    left = json.loads(Path(task.outputs["outputFile"]).read_text())
    found: dict[str, float] = left["artifacts"]["metrics"]["artifacts"][0]["metadata"]
    return found


def test_every_executor_has_what_its_pod_needs(evolve: Path) -> None:
    spec, platform = yaml.safe_load_all(evolve.read_text())
    executors = spec["deploymentSpec"]["executors"]
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(pods) == set(executors) and len(pods) > 10
    for name, pod in pods.items():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert ("resourceCount" in str(executors[name])) == any(
            verb in name for verb in ("generate", "score", "train", "evaluate")
        )
