"""The compiled pipeline in containers, on a run in a bucket: as kfp's local runner executes it, and with
containers killed at random moments.
"""

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from mstar import __version__
from mstar.config_cluster import Cluster
from mstar.kubeflow.compiling import compile_pipeline
from tests.commands import mstar
from tests.conftest import QUICKSTART
from tests.kubeflow.interpreter import Interpreter, Task
from tests.kubeflow.local_runner import Ended, container_socket, need_images, run_container, run_locally
from tests.smoke import SMALL, SMOKE, smoke_arguments
from tests.storage import servers
from tests.storage.servers import BUCKET, Stored
from tests.storage.uploads import Uploads

pytestmark = pytest.mark.slow
PREFIX = "localhost/mstar-"
IMAGES = [f"{PREFIX}{name}:{__version__}" for name in ("slim", "train-cpu")]
WITH_MODEL = {"image": "train-cpu", "gpus": 0}
KILLS = int(os.environ.get("MSTAR_KILLS", "20"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, problems: Path) -> Iterator[SimpleNamespace]:
    """A container engine with the images, a bucket with all that the smoke run reads, and the pipeline."""
    folder = tmp_path_factory.mktemp("place")
    with (
        container_socket(folder) as address,
        servers.minio(folder / "minio") as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("DOCKER_HOST", address)
        need_images(*IMAGES)
        environment = servers.VARIABLES | {"AWS_ENDPOINT_URL_S3": server.address, "OMP_NUM_THREADS": "1"}
        for name, value in environment.items():
            patch.setenv(name, value)
        uploads = Uploads(server.address)
        for source, name in ((QUICKSTART, "base"), (QUICKSTART, "prm"), (problems.parent, problems.name)):
            for path in (source / name).iterdir():
                uploads.put(f"{'problems' if source != QUICKSTART else name}/{path.name}", path.read_bytes())
        config = uploads.put("smoke.yaml", SMOKE.read_bytes())
        with_model = ("prepare", "generate", "score", "train", "evaluate")
        cluster = Cluster.model_validate(
            {
                "turns": 3,
                "image_prefix": PREFIX,
                "environment": environment,
                "secrets": {},
                "tasks": dict.fromkeys(with_model, WITH_MODEL),
            }
        )
        compile_pipeline("mstar-evolve", cluster, folder / "evolve.yaml")
        yield SimpleNamespace(
            server=server.address, config=config, pipeline=folder / "evolve.yaml", environment=environment
        )


@pytest.fixture(scope="module")
def undisturbed(place: SimpleNamespace, problems: Path) -> dict[str, str]:
    """The files of `mstar run` in the same bucket."""
    output = f"s3://{BUCKET}/in-process"
    mstar(*smoke_arguments(problems, output))
    return Stored(place.server, output).fingerprints()


def asked(place: SimpleNamespace, output: str) -> dict[str, object]:
    """What a person fills in."""
    return {"config": place.config, "overrides": [f"output={output}", *SMALL], "iterations": 0, "shards": 2}


def test_kfps_local_runner_leaves_the_files_of_mstar_run(
    place: SimpleNamespace, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    output = f"s3://{BUCKET}/local-runner"
    ended = run_locally(place.pipeline, tmp_path / "root", asked(place, output))
    assert Stored(place.server, output).fingerprints() == undisturbed
    counts = Counter(one.verb for one in ended)
    assert counts == {
        "prepare": 1, "begin": 3, "generate": 4, "score": 4, "select": 2, "train": 2, "evaluate": 8,
        "adapt": 2, "report": 1,
    }  # fmt: skip
    for line in say_overheads(Stored(place.server, output), ended):
        print(line)


def say_overheads(stored: Stored, ended: list[Ended]) -> Iterator[str]:
    """How long tasks took whose stage one container does, and how long the stage itself."""
    for verb in ("select", "train", "adapt"):
        for iteration, one in enumerate(task for task in ended if task.verb == verb):
            timing = json.loads(stored.read(f"iterations/{iteration:03d}/{verb}/timing.json"))
            yield f"{verb} {iteration}: {one.seconds:.1f} s, of which the stage {timing['seconds']:.1f} s"
    for verb in ("begin", "report"):
        yield f"{verb}: {', '.join(f'{one.seconds:.1f}' for one in ended if one.verb == verb)} s"


def test_containers_killed_at_any_time_and_started_again_leave_the_same_files(
    place: SimpleNamespace, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    """The longer a kind of task takes, the later it may be killed; no task more than twice."""
    chance, killed, taken = random.Random(20), 0, dict[str, float]()
    (tmp_path / "outputs").mkdir(mode=0o777)
    (tmp_path / "outputs").chmod(0o777)

    def work(task: Task) -> None:
        nonlocal killed
        for _ in range(2):
            if killed < KILLS:
                after = chance.uniform(0.0, taken.get(task.name, 6.0))
                status, _ = run_container(task, place.environment, tmp_path / "outputs", after)
                if status == 0:
                    return
                assert status == 137, "it was killed, and has not failed"
                killed += 1
        status, taken[task.name] = run_container(task, place.environment, tmp_path / "outputs")
        assert status == 0, task.command

    output = f"s3://{BUCKET}/killed"
    Interpreter.read(place.pipeline, tmp_path / "outputs", work).run(**asked(place, output))
    assert Stored(place.server, output).fingerprints() == undisturbed
    assert killed == KILLS
