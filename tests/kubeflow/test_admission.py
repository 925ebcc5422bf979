"""Every task's pod is taken by a cluster that restricts pods: no root, no capabilities, no privileges."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mstar.config_cluster import Cluster, Toleration, Volume
from mstar.kubeflow.compiling import PIPELINES, compile_pipeline
from tests.kubeflow.clusters import Namespace, restricted_namespace
from tests.kubeflow.executor_pods import read_pods

pytestmark = pytest.mark.slow
MANIFESTS = Path(__file__).parents[2] / "manifests" / "pipelines"
EVERYTHING = Cluster(
    user=54321,
    group=0,
    queue="gpus",
    priority="research",
    node_selector={"example.com/pool": "gpus"},
    tolerations=(Toleration(key="gpus", operator="Exists", effect="NoSchedule"),),
    labels={"team": "vision"},
    annotations={"example.com/note": "of a test"},
    environment={"NCCL_DEBUG": "WARN"},
    pull_secrets=("registry",),
    volumes=(Volume(claim="runs", path="/runs", folder="geometry"),),
    cache_claim="cache",
)


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    with restricted_namespace() as made:
        yield made


@pytest.mark.parametrize("name", PIPELINES)
def test_every_task_of_the_compiled_pipelines_is_admitted(namespace: Namespace, name: str) -> None:
    pods = list(read_pods(MANIFESTS / f"{name}.yaml"))
    assert len(pods) >= 6
    for pod in pods:
        namespace.admit(pod)


def test_every_task_is_admitted_with_every_setting(namespace: Namespace, tmp_path: Path) -> None:
    compile_pipeline("mstar-iteration", EVERYTHING, tmp_path / "pipeline.yaml")
    pods = list(read_pods(tmp_path / "pipeline.yaml"))
    assert all(pod["spec"]["containers"][0]["securityContext"]["runAsUser"] == 54321 for pod in pods)
    assert all(pod["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus" for pod in pods)
    for pod in pods:
        namespace.admit(pod)


def test_the_user_that_kubeflow_chooses_itself_is_refused(namespace: Namespace) -> None:
    """Which shows that the namespace looks."""
    pod = next(read_pods(MANIFESTS / "mstar-iteration.yaml"))
    del pod["spec"]["containers"][0]["securityContext"]["runAsNonRoot"]
    with pytest.raises(AssertionError, match='violates PodSecurity "restricted.*runAsNonRoot != true'):
        namespace.admit(pod)
