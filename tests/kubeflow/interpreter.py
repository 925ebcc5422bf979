"""Runs a compiled pipeline by the real command line, without containers, as Kubeflow does with drivers
and launchers, as far as these pipelines need it. kfp's local runner has tests of its own.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

Values = dict[str, Any]
PLACEHOLDER = re.compile(r"\{\{\$(?:\.(inputs\.parameters|outputs\.artifacts)\['(\w+)'\](\.path)?)?\}\}")


@dataclass
class Task:
    """A container that was started."""

    name: str
    """Its component's."""
    image: str
    command: list[str]
    outputs: Values
    """The section of the executor input."""


@dataclass
class Interpreter:
    """A compiled pipeline and what does a container's work."""

    spec: Mapping[str, Any]
    folder: Path
    work: Callable[[Task], None]
    done: list[Task] = field(default_factory=list)

    @classmethod
    def read(cls, place: Path, folder: Path, work: Callable[[Task], None]) -> "Interpreter":
        spec, _ = yaml.safe_load_all(place.read_text())
        return cls(spec, folder, work)

    def run(self, **given: Any) -> None:
        defaults = {
            name: one["defaultValue"]
            for name, one in self.spec["root"]["inputDefinitions"]["parameters"].items()
            if "defaultValue" in one
        }
        self._dag(self.spec["root"]["dag"], defaults | given)

    def _dag(self, dag: Mapping[str, Any], values: Values) -> None:
        tasks, outputs = dag["tasks"], dict[str, Values]()
        order = TopologicalSorter({name: task.get("dependentTasks", ()) for name, task in tasks.items()})
        for name in order.static_order():
            own = dict(self._resolve(tasks[name], values, outputs))
            if _holds(tasks[name], own):
                for each in _turns(tasks[name], own):
                    outputs[name] = self._component(tasks[name]["componentRef"]["name"], each)

    def _resolve(self, task: Mapping[str, Any], values: Values, outputs: dict[str, Values]) -> Iterator[Any]:
        for name, source in task.get("inputs", {}).get("parameters", {}).items():
            match source:
                case {"componentInputParameter": key}:
                    yield name, values[key]
                case {"runtimeValue": {"constant": constant}}:
                    yield name, constant
                case {"taskOutputParameter": {"producerTask": producer, "outputParameterKey": key}}:
                    yield name, outputs[producer][key]
                case _:
                    raise AssertionError(source)

    def _component(self, name: str, values: Values) -> Values:
        component = self.spec["components"][name]
        if "dag" in component:
            self._dag(component["dag"], values)
            return {}
        container = self.spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        declared = component["inputDefinitions"]["parameters"]
        assert set(values) == set(declared), "every input is passed explicitly"
        outputs = self._outputs(component["outputDefinitions"])
        whole = json.dumps({"inputs": {"parameterValues": values}, "outputs": outputs})
        words = [*container["command"], *container["args"]]
        command = [_fill(one, values, outputs, whole) for one in words]
        task = Task(container["command"][-1], container["image"], command, outputs)
        self.work(task)
        self.done.append(task)
        return self._read(task)

    def _outputs(self, definitions: Mapping[str, Any]) -> Values:
        """A folder that nobody has made."""
        place = self.folder / f"{len(self.done):03d}"
        return {
            "outputFile": str(place / "executor_output.json"),
            "parameters": {
                name: {"outputFile": str(place / name)} for name in definitions.get("parameters", {})
            },
            "artifacts": {
                name: {"artifacts": [{"name": name, "type": one["artifactType"], "uri": str(place / name)}]}
                for name, one in {**definitions.get("artifacts", {}), **LOGS}.items()
            },
        }

    def _read(self, task: Task) -> Values:
        """What the container has left; all that was declared, and nothing else."""
        left = json.loads(Path(task.outputs["outputFile"]).read_text())
        assert set(left["parameterValues"]) == set(task.outputs["parameters"])
        assert set(left["artifacts"]) == set(task.outputs["artifacts"]) - set(LOGS)
        for name, one in left["artifacts"].items():
            (artifact,) = one["artifacts"]
            assert artifact["uri"] == task.outputs["artifacts"][name]["artifacts"][0]["uri"]
            if artifact["type"]["schemaTitle"] != "system.Metrics":
                assert Path(artifact["uri"]).read_text()
        return dict(left["parameterValues"])


LOGS = {"executor-logs": {"artifactType": {"schemaTitle": "system.Artifact"}}}


def _fill(text: str, values: Values, outputs: Values, whole: str) -> str:
    def fill(found: re.Match[str]) -> str:
        if found[1] is None:
            return whole
        if found[1] == "outputs.artifacts":
            return str(outputs["artifacts"][found[2]]["artifacts"][0]["uri"])
        value = values[found[2]]
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return value if isinstance(value, str) else json.dumps(value)

    return PLACEHOLDER.sub(fill, text)


def _holds(task: Mapping[str, Any], values: Values) -> bool:
    condition = task.get("triggerPolicy", {}).get("condition")
    if condition is None:
        return True
    found = re.fullmatch(r"inputs\.parameter_values\['([\w-]+)'\] == false", condition)
    assert found, condition
    return values[found[1]] is False


def _turns(task: Mapping[str, Any], values: Values) -> Iterator[Values]:
    loop = task.get("parameterIterator")
    if loop is None:
        yield values
        return
    for item in values[loop["items"]["inputParameter"]]:
        yield values | {loop["itemInput"]: item}
