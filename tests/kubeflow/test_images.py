"""The images on a cluster: stages in pods as Kubeflow makes them, of an unknown user, with one folder to
write to. Each is ended while it works and started again, and leaves the files of one that was not.
"""

import json
import os
import socket
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path

import pytest

from mstar import __version__
from mstar.config_cluster import Cluster
from mstar.kubeflow.compiling import compile_pipeline
from tests.commands import mstar
from tests.conftest import QUICKSTART
from tests.kubeflow.clusters import Ended, Namespace, Pod, restricted_namespace
from tests.kubeflow.executor_pods import Spec, read_pods
from tests.smoke import prepare_arguments
from tests.storage.servers import VARIABLES, MinioServer, Stored, need_minio, ready
from tests.storage.uploads import Uploads

pytestmark = pytest.mark.slow
STAGES = ("generate", "score", "select", "train")
SHORT = ("score", "select")
"""Those that may be over when the signal comes."""
GRACE_SECONDS = 10
"""A container that takes longer to end is killed, with another exit code."""
SIGTERM = 143
WITH_MODEL = {"cpu": "2", "memory": "4Gi", "gpus": 0, "shared_memory": "1Gi"}
CLUSTER = Cluster.model_validate(
    {
        "image_prefix": os.environ.get("MSTAR_TEST_IMAGES", "localhost/mstar-"),
        "image_tag": os.environ.get("MSTAR_TEST_IMAGES_TAG", __version__),
        "user": 54321,
        "group": 54321,
        "environment": {"OMP_NUM_THREADS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"},
        "tasks": {
            "generate": {"image": "rollout-cpu", **WITH_MODEL},
            "score": {"image": "rollout-cpu", **WITH_MODEL},
            "evaluate": {"image": "rollout-cpu", **WITH_MODEL},
            "train": {"image": "train-cpu", **WITH_MODEL},
        },
    }
)
SETTINGS = (
    "iterations.count=1",
    "generate.engine=vllm",
    "generate.problems_per_chunk=4",
    "train.trainer=deepspeed",
    "train.checkpoint_every=1",
    "deepspeed.ranks=2",
)


class ServerForPods(MinioServer):
    """One that answers at every address of this machine."""

    listens_at = ""


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    with restricted_namespace() as made:
        yield made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    need_minio()
    started = ServerForPods(tmp_path_factory.mktemp("minio"))
    try:
        ready(started.port)
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def tasks(
    namespace: Namespace, server: MinioServer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Spec]:
    """The pods of the stages by their names, and the secret with which they reach the server."""
    keys = VARIABLES | {"AWS_ENDPOINT_URL_S3": f"http://{_own_address(namespace)}:{server.port}"}
    secret = {"metadata": {"name": "mstar-storage"}, "stringData": keys}
    namespace.core.create_namespaced_secret(namespace.name, secret)
    place = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    compile_pipeline("mstar-iteration", CLUSTER, place)
    found = {pod["metadata"]["name"].removeprefix("exec-"): pod for pod in read_pods(place)}
    return {stage: found[stage] for stage in STAGES}


def test_stages_that_are_ended_and_started_again_leave_equal_files(
    namespace: Namespace,
    server: MinioServer,
    tasks: dict[str, Spec],
    problems: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (VARIABLES | {"AWS_ENDPOINT_URL_S3": server.address}).items():
        monkeypatch.setenv(name, value)
    inputs = Uploads(server.address)
    models = [
        f"{key}={inputs.put_folder(QUICKSTART / name, name)}"
        for key, name in (("model.path", "base"), ("score.prm", "prm"))
    ]
    tables = inputs.put_folder(problems, "problems")
    outputs = {name: f"{inputs.address}/{name}" for name in ("whole", "ended")}
    for output in outputs.values():
        mstar(*prepare_arguments(tables, output, *models, *SETTINGS))
    whole, ended = (Stored(server.address, output) for output in outputs.values())
    for stage in STAGES:
        _finish(namespace.start(_fill(tasks[stage], outputs["whole"])))
        pod = namespace.start(_fill(tasks[stage], outputs["ended"]))
        pod.wait_for(partial(_has_worked, stage, pod, ended))
        pod.delete()
        code = pod.wait().exit_code
        assert code == SIGTERM or (code == 0 and stage != "generate")  # it was over before the signal
        _finish(namespace.start(_fill(tasks[stage], outputs["ended"])))
    assert ended.fingerprints() == whole.fingerprints()


@pytest.mark.parametrize("stage", ["generate", "select", "train"])
def test_images_have_no_compiler(namespace: Namespace, tasks: dict[str, Spec], stage: str) -> None:
    pod = _fill(tasks[stage], "nowhere")
    look = "id; which cc gcc c++ g++ clang nvcc ld as; true"
    pod["spec"]["containers"][0] |= {"command": ["sh"], "args": ["-c", look]}
    assert namespace.start(pod).wait() == Ended(
        0, f"uid={CLUSTER.user} gid={CLUSTER.group} groups={CLUSTER.group}\n"
    )


def _finish(pod: Pod) -> None:
    ended = pod.wait()
    assert ended.exit_code == 0, ended.log


def _has_worked(stage: str, pod: Pod, stored: Stored) -> bool:
    """Whether something of a long stage is there, or a short one has begun."""
    if stage not in SHORT:
        return bool(stored.keys(f"iterations/000/{stage}/"))
    return " to do" in pod.log()


def _fill(task: Spec, run: str) -> Spec:
    """The pod that does the task on iteration 0 of this run: its command without the launcher, a root that is
    read-only as an administrator would have it, and one folder to write to.
    """
    pod = deepcopy(task)
    spec = pod["spec"]
    main = spec["containers"][0]
    values = {"run": run, "iteration": "0", "shard": "1/1"}
    filled = {f"{{{{$.inputs.parameters['{name}']}}}}": value for name, value in values.items()}
    filled["{{$}}"] = json.dumps({"outputs": {"outputFile": "/tmp/outputs/executor_output.json"}})
    words = [filled.get(word, word) for word in main["args"]]
    main |= {"command": words[:1], "args": words[1:]}
    main["securityContext"]["readOnlyRootFilesystem"] = True
    del spec["initContainers"]
    spec["volumes"].append({"name": "scratch", "emptyDir": {}})
    main["volumeMounts"].append({"name": "scratch", "mountPath": "/tmp"})
    spec["terminationGracePeriodSeconds"] = GRACE_SECONDS
    return pod


def _own_address(namespace: Namespace) -> str:
    """Where pods reach this machine: at the address from which it reaches the cluster."""
    if given := os.environ.get("MSTAR_TEST_ADDRESS"):
        return given
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tried:
        tried.connect(namespace.server())
        address: str = tried.getsockname()[0]
        return address
