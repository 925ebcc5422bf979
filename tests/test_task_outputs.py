"""What a task leaves for Kubeflow: the declared outputs in its form, on a cluster and in the local runner."""

import json
from pathlib import Path
from typing import Any

import pytest

from mstar.errors import UserError
from mstar.records import Decision
from mstar.task_outputs import TaskOutputs, write_page
from tests.commands import mstar


def executor_input(folder: Path, *parameters: str) -> str:
    """As Kubeflow puts it for {{$}}: of the places in it not even the folders are there."""
    artifacts = {"metrics": "system.Metrics", "page": "system.HTML", "executor-logs": "system.Artifact"}
    outputs = {
        "parameters": {name: {"outputFile": str(folder / "parameters" / name)} for name in parameters},
        "artifacts": {
            name: {
                "artifacts": [{"name": f"id-{name}", "type": {"schemaTitle": kind}, "uri": f"s3://b/{name}"}]
            }
            for name, kind in artifacts.items()
        },
        "outputFile": str(folder / "outputs" / "executor_output.json"),
    }
    return json.dumps({"inputs": {"parameterValues": {"run": "x"}}, "outputs": outputs})


def left(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "outputs/executor_output.json").read_text())
    return found


def test_declared_outputs_are_written_and_no_others(tmp_path: Path) -> None:
    outputs = TaskOutputs(executor_input(tmp_path, "next_temperature", "stop"))
    outputs.write_result(Decision(3, 0.9, "it was best", stop=False), reward_pass_k=2)
    found = left(tmp_path)
    assert found["parameterValues"] == {"next_temperature": 0.9, "stop": False}
    assert set(found["artifacts"]) == {"metrics", "page"}, "the launcher writes the logs itself"
    (metrics,) = found["artifacts"]["metrics"]["artifacts"]
    assert metrics == {
        "name": "id-metrics",
        "type": {"schemaTitle": "system.Metrics"},
        "uri": "s3://b/metrics",
        "metadata": {"next_temperature": 0.9, "stop": False},
    }
    assert "metadata" not in found["artifacts"]["page"]["artifacts"][0]
    assert (tmp_path / "parameters").is_dir(), "the local runner makes no folders"
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["executor_output.json"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), None])
def test_what_would_fail_the_step_is_left_out(tmp_path: Path, value: float | None) -> None:
    TaskOutputs(executor_input(tmp_path)).write({}, {"loss": value, "kept": 7, "share": 0.5})
    (metrics,) = left(tmp_path)["artifacts"]["metrics"]["artifacts"]
    assert metrics["metadata"] == {"kept": 7, "share": 0.5}


def test_a_share_that_is_not_the_last_has_no_figures(tmp_path: Path) -> None:
    TaskOutputs(executor_input(tmp_path)).write_result(None, reward_pass_k=2)
    assert left(tmp_path)["artifacts"]["metrics"]["artifacts"][0]["metadata"] == {}


def test_a_page_goes_where_nothing_is(tmp_path: Path) -> None:
    write_page(tmp_path / "a/b/page", "<p>Ä</p>")
    assert (tmp_path / "a/b/page").read_bytes() == "<p>Ä</p>".encode()


@pytest.mark.parametrize("given", ["{{$}}", "", "[]", '{"outputs": {}}', '{"outputs": 3}'])
def test_anything_else_is_refused_before_the_work(given: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--executor-input is"):
        TaskOutputs(given)
    done = mstar("begin", "--run", str(tmp_path), "--iteration", "0", "--executor-input", given, check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: --executor-input is")
