"""kfp's own local runner on a container socket, and a watch on its containers: it calls a container that
failed a success where the engine has removed it.
"""

import os
import shutil
import subprocess
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kubeflow.interpreter import Task

LIMITS = (("nofile", 20_000), ("nproc", 4_096))


@dataclass(frozen=True)
class Ended:
    """A container that has ended."""

    words: tuple[str, ...]
    """What it was started with."""
    status: int
    seconds: float

    @property
    def verb(self) -> str:
        return self.words[1]


@contextmanager
def container_socket(folder: Path) -> Iterator[str]:
    """The address of a container engine: DOCKER_HOST, or podman's, which is started for it."""
    if given := os.environ.get("DOCKER_HOST"):
        yield given
        return
    if shutil.which("podman") is None:
        pytest.skip("needs a container engine: DOCKER_HOST, or podman on PATH")
    address = f"unix://{folder}/podman.sock"
    service = subprocess.Popen(["podman", "--runtime", "runc", "system", "service", "--time", "0", address])
    try:
        while not (folder / "podman.sock").exists():
            assert service.poll() is None
            time.sleep(0.1)
        yield address
    finally:
        service.terminate()
        service.wait()


def need_images(*names: str) -> None:
    """Skip the test where `make images` was not run."""
    import docker

    client = docker.from_env()
    try:
        present = {tag for image in client.images.list() for tag in image.tags}
    finally:
        client.close()
    for name in names:
        if name not in present:
            pytest.skip(f"needs the image {name}; see make images")


def run_locally(place: Path, root: Path, values: Mapping[str, Any]) -> list[Ended]:
    """Run a compiled pipeline to its end; returns its containers in the order of their ends. AssertionError
    where one has failed.
    """
    from kfp import components, local

    root.mkdir()
    root.chmod(0o777)  # containers run as somebody else
    with watched() as ended, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has no use for resources, and says so of every task
        local.init(
            local.DockerRunner(network_mode="host", ulimits=_limits()),
            pipeline_root=str(root),
            raise_on_error=True,
        )
        spec = next(yaml.safe_load_all(place.read_text()))
        components.load_component_from_text(yaml.safe_dump(spec))(**values)
    failed = [one for one in ended if one.status]
    assert not failed, failed
    return ended


def run_container(
    task: Task, environment: Mapping[str, str], folder: Path, killed_after: float | None = None
) -> tuple[int, float]:
    """One task in a container that sees a folder of this machine; returns its status, 137 where it was killed
    after so many seconds, and how long it took.
    """
    import docker

    begun = time.perf_counter()
    client = docker.from_env()
    try:
        container = client.containers.run(
            task.image,
            task.command,
            detach=True,
            network_mode="host",
            environment=dict(environment),
            volumes={str(folder): {"bind": str(folder), "mode": "rw"}},
            ulimits=_limits(),
        )
        try:
            if killed_after is not None:
                time.sleep(killed_after)
                with suppress(docker.errors.APIError):  # it has ended
                    container.kill()
            return int(container.wait()["StatusCode"]), time.perf_counter() - begun
        finally:
            container.remove()
    finally:
        client.close()


def _limits() -> list[Any]:
    import docker

    return [docker.types.Ulimit(name=name, soft=most, hard=most) for name, most in LIMITS]


@contextmanager
def watched() -> Iterator[list[Ended]]:
    """Keep containers until their status is known."""
    import docker.models.containers as containers

    ended: list[Ended] = []
    collection = containers.ContainerCollection
    run, wait = collection.run, containers.Container.wait
    started: dict[str, tuple[tuple[str, ...], float]] = {}

    def run_kept(self: Any, image: str, command: list[str], **options: Any) -> Any:
        begun = time.perf_counter()
        container = run(self, image, command, **options | {"auto_remove": False})
        started[container.id] = (tuple(command), begun)
        return container

    def wait_and_remove(self: Any, **options: Any) -> Any:
        result = wait(self, **options)
        words, begun = started.pop(self.id)
        ended.append(Ended(words, result["StatusCode"], time.perf_counter() - begun))
        self.remove()
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collection, "run", run_kept)
        patch.setattr(containers.Container, "wait", wait_and_remove)
        yield ended
