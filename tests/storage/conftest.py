"""Servers that live as long as the tests of one worker, and an environment that reaches them."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.storage import servers
from tests.storage.uploads import Uploads


@pytest.fixture(autouse=True)
def s3_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in servers.VARIABLES.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    with servers.moto() as address:
        yield address


@pytest.fixture(scope="session")
def minio_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.MinioServer]:
    with servers.minio(tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture
def minio(minio_server: servers.MinioServer) -> str:
    return minio_server.address


@pytest.fixture
def own_server(s3_credentials: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """The address of a server that somebody has, and that of a folder there, which goes with the test."""
    if not (named := os.environ.get(servers.OWN_SERVER)):
        pytest.skip(f"needs an S3 server, by {servers.OWN_SERVER}=https://host:port/bucket and AWS_*")
    for name in servers.VARIABLES:
        monkeypatch.delenv(name)
    for name, value in servers.GIVEN.items():
        monkeypatch.setenv(name, value)
    found = urlsplit(named)
    address = f"{found.scheme}://{found.netloc}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
    folder = f"s3://{found.path.strip('/') or servers.BUCKET}/mstar-tests/{uuid.uuid4().hex}"
    yield address, folder
    servers.Stored(address, folder).remove()


@pytest.fixture
def uploads(moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Uploads:
    """A folder in a bucket that commands reach by their environment, and a cache of the test's own."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto)
    monkeypatch.setenv("MSTAR_CACHE", str(tmp_path / "cache"))
    return Uploads(moto)
