"""What a Kubeflow task leaves for its pipeline and its UI.

Kubeflow Pipelines gives a container its `executor input`, a JSON text (`{{$}}` among the arguments) that says
where outputs go. They are written into one file of its form, with the artifacts that were declared and
figures as their metadata, which the UI shows. The same on a cluster and under KFP's local runner, which
differ in what they make themselves. A number that is not finite would fail the step after its work is done,
or the next one, so it is left out. Nothing of kfp is imported.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mstar.errors import UserError

if TYPE_CHECKING:
    from mstar.report.summary import Summary
    from mstar.rundir import RunDir

LOGS = "executor-logs"
"""An artifact that the launcher writes itself."""
FIGURES = ("system.Metrics",)
"""Types of artifacts whose metadata are a table of figures."""


class TaskOutputs:
    """The outputs that a task has declared."""

    def __init__(self, executor_input: str) -> None:
        """UserError where it is not what Kubeflow passes."""
        try:
            outputs = json.loads(executor_input)["outputs"]
            self._file = Path(outputs["outputFile"])
            self._parameters: dict[str, Any] = dict(outputs.get("parameters", {}))
            self._artifacts: dict[str, Any] = dict(outputs.get("artifacts", {}))
        except (ValueError, TypeError, KeyError):
            raise UserError(
                f"--executor-input is {executor_input[:60]!r}; it is what Kubeflow Pipelines puts in place "
                "of {{$}}, and only its tasks pass it"
            ) from None

    def write(self, values: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        """Leave the declared parameters, taken from `values`, and `figures` for the UI."""
        artifacts = {
            name: {"artifacts": [_described(one, figures) for one in found["artifacts"]]}
            for name, found in self._artifacts.items()
            if name != LOGS
        }
        declared = {name: values[name] for name in self._parameters}
        text = json.dumps({"parameterValues": declared, "artifacts": artifacts}, allow_nan=False)
        for place in (self._file, *(Path(one["outputFile"]) for one in self._parameters.values())):
            place.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        scratch.write_text(text)
        scratch.replace(self._file)

    def write_result(self, result: Any, reward_pass_k: int) -> None:
        """The same of a stage's result, under the names of metrics.jsonl; None, where other shards still owe
        parts, has no figures.
        """
        from mstar.report.metric_lines import stage_fields

        fields = {} if result is None else stage_fields(result, reward_pass_k)
        self.write(fields, {name: value for name, value in fields.items() if name != "reason"})


def copy_page(run: "RunDir", place: Path) -> None:
    """The report of a run, where Kubeflow wants a page."""
    with run.storage.reading("report.html") as page:
        write_page(place, page.read_text(encoding="utf-8"))


def write_page(place: Path, text: str) -> None:
    """Its folder may not be there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")


def figures_of(summary: "Summary") -> dict[str, Any]:
    """What a run has come to, for Kubeflow's table."""
    figures: dict[str, Any] = {"iterations": summary.iterations}
    for name, test in summary.tests.items():
        figures[f"accuracy.{name}"] = test.last.accuracy
        if test.change:
            figures[f"gain.{name}"] = test.change.change
    return figures


def _described(artifact: Mapping[str, Any], figures: Mapping[str, Any]) -> dict[str, Any]:
    described = dict(artifact)
    if described.get("type", {}).get("schemaTitle") in FIGURES:
        finite = {name: value for name, value in figures.items() if _is_shown(value)}
        described["metadata"] = {**described.get("metadata", {}), **finite}
    return described


def _is_shown(value: Any) -> bool:
    return isinstance(value, bool | str) or (isinstance(value, int | float) and math.isfinite(value))
