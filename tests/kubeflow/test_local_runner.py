"""The compiled pipeline for real: kfp's local runner, the images of `make images`, runs in a bucket."""

from collections.abc import Iterator

import pytest

from mstar import __version__
from tests.kubeflow.local_runner import container_socket, need_images

pytestmark = pytest.mark.slow
PREFIX = "localhost/mstar-"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A container engine with the images, in this process's environment."""
    with (
        container_socket(tmp_path_factory.mktemp("engine")) as address,
        pytest.MonkeyPatch.context() as environment,
    ):
        environment.setenv("DOCKER_HOST", address)
        need_images(*(f"{PREFIX}{name}:{__version__}" for name in ("slim", "train-cpu")))
        yield
