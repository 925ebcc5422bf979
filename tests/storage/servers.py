"""S3 servers for tests: moto's, which is always there, and MinIO's where `minio` is on PATH."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from minio import Minio

from tests.serving import Server, free_port
from tests.smoke import VARIES

KEY, SECRET = "mstar-tests", "mstar-tests-secret"
BUCKET = "runs"
OWN_SERVER = "MSTAR_TEST_S3"
"""The variable with a server that somebody has, `https://host:port/bucket`; AWS_* say how it is reached."""
GIVEN = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
VARIABLES = {
    "AWS_ACCESS_KEY_ID": KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_EC2_METADATA_DISABLED": "true",
}


class MotoServer(Server):
    """moto's server in a process of its own; what it holds goes with it."""

    def __init__(self) -> None:
        self.port = free_port()
        self._listen(
            [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        )


class MinioServer(Server):
    """A real one, on a folder; it can be killed and started again."""

    listens_at = "127.0.0.1"

    def __init__(self, folder: Path, *options: str, **environment: str) -> None:
        self.folder = folder
        self.port = free_port()
        self._options = options
        self._environment = environment
        self.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        place = ["--address", f"{self.listens_at}:{self.port}", str(self.folder)]
        self._listen(
            ["minio", "server", "--quiet", *self._options, *place],
            ready="/minio/health/ready",
            MINIO_ROOT_USER=KEY,
            MINIO_ROOT_PASSWORD=SECRET,
            MINIO_BROWSER="off",
            **self._environment,
        )

    def mc(self, *arguments: str) -> str:
        """A command of MinIO's client, which knows the server as `tests`."""
        place = self.address.replace("http://", f"http://{KEY}:{SECRET}@")
        environment = os.environ | {"MC_HOST_tests": place}
        command = ["mc", "--quiet", *arguments]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


@contextmanager
def moto() -> Iterator[str]:
    """The address of a server of its own."""
    server = MotoServer()
    try:
        yield ready(server.port)
    finally:
        server.stop()


def need_minio() -> None:
    """Skip the test where there is no MinIO."""
    if shutil.which("minio") is None or shutil.which("mc") is None:
        pytest.skip("needs minio and mc on PATH")


@contextmanager
def minio(folder: Path) -> Iterator[MinioServer]:
    """The same with MinIO; the test is skipped where there is none."""
    need_minio()
    server = MinioServer(folder)
    try:
        ready(server.port)
        yield server
    finally:
        server.stop()


def ready(port: int) -> str:
    """The address of a server at this port, where the tests' bucket is."""
    for _ in range(100):
        try:
            made = client(f"http://127.0.0.1:{port}", VARIABLES)
            if not made.bucket_exists(BUCKET):
                made.make_bucket(BUCKET)
            return f"http://127.0.0.1:{port}"
        except Exception:
            time.sleep(0.05)
    raise RuntimeError(f"no bucket can be made at port {port}")


def client(address: str, environment: Mapping[str, str] = os.environ) -> Minio:
    """A client without the code under test; keys and region are those of the environment."""
    found = urlsplit(address)
    return Minio(
        found.netloc,
        environment["AWS_ACCESS_KEY_ID"],
        environment["AWS_SECRET_ACCESS_KEY"],
        environment.get("AWS_SESSION_TOKEN"),
        secure=found.scheme == "https",
        region=environment.get("AWS_REGION", "us-east-1"),
    )


class Stored:
    """What a server has below `s3://bucket/prefix`, seen without the code under test."""

    def __init__(self, address: str, output: str) -> None:
        self._client = client(address)
        self._bucket, _, prefix = output.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix}/"

    def keys(self, below: str = "") -> list[str]:
        found = self._client.list_objects(self._bucket, prefix=self._prefix + below, recursive=True)
        return [(one.object_name or "").removeprefix(self._prefix) for one in found]

    def etags(self) -> dict[str, str]:
        """What the server says of its objects' contents, by key."""
        found = self._client.list_objects(self._bucket, prefix=self._prefix, recursive=True)
        return {(one.object_name or "").removeprefix(self._prefix): one.etag or "" for one in found}

    def headers(self, key: str) -> Mapping[str, str]:
        return self._client.stat_object(self._bucket, self._prefix + key).metadata or {}

    def read(self, key: str) -> bytes:
        response = self._client.get_object(self._bucket, self._prefix + key)
        try:
            return response.read()
        finally:
            response.close()
            response.release_conn()

    def remove(self) -> None:
        """All of it."""
        for key in self.keys():
            self._client.remove_object(self._bucket, self._prefix + key)

    def fingerprints(self) -> dict[str, str]:
        """The hash of every file that must not vary, by the bytes that the server has."""
        kept = [key for key in self.keys() if key.rpartition("/")[2] not in VARIES]
        return {key: hashlib.sha256(self.read(key)).hexdigest() for key in sorted(kept)}
