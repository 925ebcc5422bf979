"""The pipelines as YAML: what the UI takes, and what `mstar pipeline start` sends.

Each file holds two documents, the pipeline in kfp's intermediate representation and what Kubernetes is to do
for its tasks.
"""

import hashlib
import warnings
from pathlib import Path

from mstar import __version__
from mstar.config_cluster import Cluster

PIPELINES = ("mstar-evolve", "mstar-iteration")


def compile_pipeline(name: str, cluster: Cluster, place: Path) -> None:
    """Write one of PIPELINES; the same settings always give the same bytes."""
    from kfp import compiler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiler.Compiler().compile(_build(name, cluster), str(place))


def compile_pipelines(cluster: Cluster, folder: Path) -> list[Path]:
    """Write them all into a folder; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    places = [folder / f"{name}.yaml" for name in PIPELINES]
    for name, place in zip(PIPELINES, places, strict=True):
        compile_pipeline(name, cluster, place)
    return places


def _build(name: str, cluster: Cluster) -> object:
    match name:
        case "mstar-evolve":
            from mstar.kubeflow.pipelines.evolve import build_evolve

            return build_evolve(cluster)
        case "mstar-iteration":
            from mstar.kubeflow.pipelines.iteration import build_iteration

            return build_iteration(cluster)
        case _:
            raise ValueError(name)


def version_of(place: Path) -> str:
    """The name of a compiled pipeline's version: mstar's, and what it holds."""
    return f"{__version__}-{hashlib.sha256(place.read_bytes()).hexdigest()[:8]}"
