"""One word for each stage everywhere, compiled pipelines that are up to date, and kfp in one place."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
import yaml

from mstar.cli import app
from mstar.config import Config
from mstar.config_cluster import Tasks
from mstar.kubeflow.compiling import PIPELINES
from mstar.stages import STAGE_NAMES
from tests.commands import mstar
from tests.conftest import ROOT

COMPONENTS = ROOT / "components"
OTHERS = {"prepare", "begin", "report", "verify"}


def test_the_stages_have_one_name_everywhere(tmp_path: Path) -> None:
    verbs = {*STAGE_NAMES, *OTHERS}
    folders = {path.parent.name for path in COMPONENTS.glob("*/component.py")}
    assert folders == set(Tasks.model_fields) == verbs
    assert verbs <= set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    for verb in verbs:
        component = getattr(importlib.import_module(f"mstar.kubeflow.components.{verb}.component"), verb)
        spec = component.component_spec.implementation.container
        assert spec.command == ["mstar", verb] and component.name == verb
    assert set(STAGE_NAMES) - set(Config.model_fields) == set()
    tasks = _tasks(ROOT / "manifests/pipelines/mstar-iteration.yaml")
    assert tasks == set(STAGE_NAMES)


def _tasks(place: Path) -> set[str]:
    spec = next(yaml.safe_load_all(place.read_text()))
    return {one["container"]["command"][1] for one in spec["deploymentSpec"]["executors"].values()}


def test_the_compiled_pipelines_are_up_to_date(tmp_path: Path) -> None:
    """Otherwise: mstar pipeline compile --output manifests/pipelines"""
    mstar("pipeline", "compile", "--output", str(tmp_path))
    stored = ROOT / "manifests/pipelines"
    assert {path.name for path in stored.iterdir()} == {f"{name}.yaml" for name in PIPELINES}
    for name in PIPELINES:
        assert (stored / f"{name}.yaml").read_bytes() == (tmp_path / f"{name}.yaml").read_bytes()


def test_kfp_is_imported_in_one_place() -> None:
    places = {ROOT / "mstar/kubeflow", ROOT / "components", ROOT / "pipelines"}
    files = [*ROOT.glob("mstar/**/*.py"), *ROOT.glob("components/**/*.py"), *ROOT.glob("pipelines/**/*.py")]
    importing = {path for path in files if _imports(path) & {"kfp", "kfp_server_api", "kubernetes"}}
    assert importing and all(places & set(path.parents) for path in importing)


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {one.name.partition(".")[0] for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_compiling_needs_neither_torch_nor_what_stages_need() -> None:
    program = (
        "import json, sys, tempfile, pathlib\n"
        "from mstar.config_cluster import Cluster\n"
        "from mstar.kubeflow.compiling import compile_pipelines\n"
        "compile_pipelines(Cluster(turns=1), pathlib.Path(tempfile.mkdtemp()))\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "pyarrow", "sympy"} & set(json.loads(done.stdout))


@pytest.mark.parametrize("name", PIPELINES)
def test_every_input_is_passed_explicitly(name: str) -> None:
    """A default that only a component has fails on a real backend."""
    spec = next(yaml.safe_load_all((ROOT / f"manifests/pipelines/{name}.yaml").read_text()))
    executed = [one for one in spec["components"].values() if "executorLabel" in one]
    assert executed
    for component in executed:
        inputs = component["inputDefinitions"]["parameters"].values()
        assert not any(one.get("isOptional") for one in inputs)
    for task in _all_tasks(spec):
        assert task["cachingOptions"] == {}, "Kubeflow's cache is off"
        assert task["retryPolicy"]["maxRetryCount"] == 2


def _all_tasks(spec: dict) -> list[dict]:  # type: ignore[type-arg]
    dags = [spec["root"]["dag"], *(one["dag"] for one in spec["components"].values() if "dag" in one)]
    tasks = [task for dag in dags for task in dag["tasks"].values()]
    executed = {name for name, one in spec["components"].items() if "executorLabel" in one}
    return [task for task in tasks if task["componentRef"]["name"] in executed]
