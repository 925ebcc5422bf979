"""What only a real server does: quotas, policies, clocks, regions, host names, and a death in the middle of a
run.
"""

import base64
import datetime
import json
import random
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import minio.api
import pytest

from mstar.config_storage import StorageSettings
from mstar.datasets import Reading
from mstar.datasets.checking import check_problems
from mstar.errors import UserError
from mstar.storage import Storage, build_storage, read_text, s3_bucket, write_text
from tests.commands import mstar, start
from tests.smoke import fingerprints, smoke_arguments
from tests.storage import servers
from tests.storage.authorities import make_certificates
from tests.storage.servers import BUCKET, MinioServer, Stored


def open_at(
    endpoint: str, folder: Path, bucket: str = BUCKET, prefix: str = "", **settings: object
) -> Storage:
    given = {"endpoint": endpoint, "cache": str(folder / "cache"), "retries": 2, **settings}
    address = f"s3://{bucket}/{prefix or uuid.uuid4().hex}"
    return build_storage(address, StorageSettings.model_validate(given))


@contextmanager
def one_line(match: str) -> Iterator[None]:
    with pytest.raises(UserError, match=match) as raised:
        yield
    assert "\n" not in str(raised.value)


def test_a_full_quota_is_one_line_and_loses_nothing(minio_server: MinioServer, tmp_path: Path) -> None:
    minio_server.mc("mb", "tests/small")
    storage = open_at(minio_server.address, tmp_path, "small")
    write_text(storage, "x.json", "1")
    minio_server.mc("quota", "set", "tests/small", "--size", "1MiB")
    with one_line("the bucket's quota is used up"), storage.scratch() as path:
        path.write_bytes(bytes(2 << 20))
        storage.publish(path, "part.parquet")
    assert read_text(storage, "x.json") == "1"
    assert storage.keys("") == ["x.json"]


def test_a_bucket_that_keeps_versions_and_encrypts(tmp_path: Path) -> None:
    """What is deleted is gone, and its name is free; ETags are no hashes of contents there."""
    servers.need_minio()
    secret = base64.b64encode(bytes(32)).decode()
    server = MinioServer(tmp_path / "server", MINIO_KMS_SECRET_KEY=f"key:{secret}")
    try:
        servers.ready(server.port)
        server.mc("version", "enable", f"tests/{BUCKET}")
        server.mc("encrypt", "set", "sse-s3", f"tests/{BUCKET}")
        storage = open_at(server.address, tmp_path, prefix="run")
        assert write_text(storage, "a/manifest.json", "first", replace=False)
        assert not write_text(storage, "a/manifest.json", "second", replace=False)
        storage.remove("a")
        assert storage.keys("") == []
        assert write_text(storage, "a/manifest.json", "third", replace=False)
        data = random.Random(0).randbytes(1 << 20)
        with storage.scratch() as path:
            path.write_bytes(data)
            storage.publish(path, "a/part.parquet")
        for cache in ("new", "new", "another"):
            reader = open_at(server.address, tmp_path / cache, prefix="run")
            reader.expect(["a"], ("manifest.json",))
            assert read_text(reader, "a/manifest.json") == "third"
            with reader.reading("a/part.parquet") as path:
                assert path.read_bytes() == data
    finally:
        server.stop()


POLICY = """{"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::runs"]},
    {"Effect": "Allow", "Action": [%s], "Resource": ["arn:aws:s3:::runs/mine/*"]}]}"""


def become(
    server: MinioServer, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, actions: str
) -> None:
    """From now on the keys are those of a user who may do this below s3://runs/mine."""
    (folder / "policy.json").write_text(POLICY % actions)
    server.mc("admin", "policy", "create", "tests", name, str(folder / "policy.json"))
    server.mc("admin", "user", "add", "tests", name, "secret-of-a-user")
    server.mc("admin", "policy", "attach", "tests", name, "--user", name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", name)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-a-user")


def test_what_the_documents_ask_for_is_enough(
    minio_server: MinioServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing below other prefixes can be read or written."""
    monkeypatch.setattr(s3_bucket, "PART_BYTES", 5 << 20)
    needed = '"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"'
    become(minio_server, tmp_path, monkeypatch, "trainer", needed)
    storage = open_at(minio_server.address, tmp_path, prefix="mine/run")
    assert write_text(storage, "manifest.json", "first", replace=False)
    assert not write_text(storage, "manifest.json", "second", replace=False)
    with storage.scratch() as path:
        path.write_bytes(bytes(6 << 20))
        assert storage.publish(path, "weights")
    with open_at(minio_server.address, tmp_path / "other", prefix="mine/run").reading("weights") as path:
        assert path.stat().st_size == 6 << 20
    assert storage.describe("weights").size == 6 << 20
    storage.remove("weights")
    assert storage.keys("") == ["manifest.json"]
    other = open_at(minio_server.address, tmp_path, prefix="others/run")
    with one_line("access is denied; the credentials need s3:ListBucket"):
        write_text(other, "manifest.json", "mine")


def test_a_user_who_may_only_read_is_told_at_the_first_write(
    minio_server: MinioServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(open_at(minio_server.address, tmp_path, prefix="mine/read"), "x.json", "1")
    become(minio_server, tmp_path, monkeypatch, "reader", '"s3:GetObject"')
    storage = open_at(minio_server.address, tmp_path, prefix="mine/read")
    assert read_text(storage, "x.json") == "1"
    with one_line("access is denied"):
        write_text(storage, "y.json", "2")
    with one_line("access is denied"):
        storage.remove("x.json")
    assert storage.keys("") == ["x.json"]


@pytest.mark.parametrize(
    ("variable", "line"),
    [
        ("AWS_ACCESS_KEY_ID", "the server does not know the access key"),
        ("AWS_SECRET_ACCESS_KEY", "the secret key does not belong to the access key"),
        ("AWS_SESSION_TOKEN", "the session token is not valid"),
    ],
)
def test_wrong_keys_are_one_line(
    minio: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, line: str
) -> None:
    monkeypatch.setenv(variable, "wrong-and-long-enough")
    with one_line(line):
        open_at(minio, tmp_path).keys("")


def test_clocks_that_differ_are_one_line(minio: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_at(minio, tmp_path)
    write_text(storage, "x.json", "1")

    def an_hour_ago() -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)

    monkeypatch.setattr(minio_time(), "utcnow", an_hour_ago)
    for ask in (lambda: storage.keys(""), lambda: open_at(minio, tmp_path).keys("")):
        with one_line("the clocks of this machine and of the server differ too much"):
            ask()


def minio_time() -> Any:
    """Where the client asks what time it is."""
    return minio.api.time


def test_a_bucket_in_another_region_is_one_line(tmp_path: Path) -> None:
    servers.need_minio()
    server = MinioServer(tmp_path / "server", MINIO_REGION="eu-west-1")
    try:
        with pytest.raises(UserError, match="the bucket is in another region; set storage.region"):
            open_at(server.address, tmp_path).keys("")
        server.mc("mb", "--region", "eu-west-1", f"tests/{BUCKET}")
        with one_line("the bucket is in another region; set storage.region"):
            open_at(server.address, tmp_path).keys("")
        storage = open_at(server.address, tmp_path, region="eu-west-1")
        write_text(storage, "x.json", "1")
        assert storage.keys("") == ["x.json"]
    finally:
        server.stop()


def test_the_bucket_in_the_hosts_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    servers.need_minio()
    ask = socket.getaddrinfo

    def answer(host: Any, *others: Any, **more: Any) -> Any:
        return ask("127.0.0.1" if str(host).endswith("s3.test") else host, *others, **more)

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    server = MinioServer(tmp_path / "server", MINIO_DOMAIN="s3.test")
    try:
        servers.ready(server.port)
        storage = open_at(server.address.replace("127.0.0.1", "s3.test"), tmp_path, style="virtual")
        write_text(storage, "a/x.json", "1")
        assert storage.keys("a/") == ["a/x.json"]
        assert read_text(storage, "a/x.json") == "1"
    finally:
        server.stop()


def test_a_server_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    servers.need_minio()
    authority = make_certificates(tmp_path / "certificates")
    (tmp_path / "certificates" / "CAs").mkdir()
    server = MinioServer(tmp_path / "server", "--certs-dir", str(tmp_path / "certificates"))
    try:
        endpoint = f"https://127.0.0.1:{server.port}"
        with one_line("there is no such bucket"):
            open_at(endpoint, tmp_path, ca_file=str(authority)).keys("")
        with one_line(r"is not trusted.*set storage.ca_file"):
            open_at(endpoint, tmp_path).keys("")
    finally:
        server.stop()


@pytest.mark.slow
def test_a_server_that_dies_in_the_middle_of_a_run_is_waited_for(
    problems: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed as three stages end, away for a second or two; the run itself is never started again."""
    with servers.minio(tmp_path / "server") as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.address)
        prefix = f"{BUCKET}/dies/{uuid.uuid4().hex}"
        output, stored = f"s3://{prefix}", tmp_path / "server" / prefix
        process = start(*smoke_arguments(problems, output))
        for away, stage in ((1.0, "000/generate"), (2.0, "000/select"), (1.0, "001/score")):
            while not (stored / "iterations" / stage / "manifest.json").exists():
                assert process.is_alive()
                process.join(0.01)
            server.stop()
            time.sleep(away)
            server.start()
        assert process.is_alive()
        process.join()
        assert process.exitcode == 0
        mstar("verify", output)
        assert Stored(server.address, output).fingerprints() == fingerprints(finished)


def test_a_name_that_no_object_can_have_is_told_of_with_its_row(minio: str, tmp_path: Path) -> None:
    """It ended the check with `answers BadRequest ... start again later`."""
    path = tmp_path / "train.jsonl"
    row = {"id": "p1", "question": "How many?", "answer": "1", "answer_type": "number"}
    path.write_text(json.dumps(row | {"image": f"s3://{BUCKET}/{'x' * 300}.png"}))
    (flaw,) = check_problems(path, reading=Reading(StorageSettings(endpoint=minio))).bad
    assert flaw.row == 1 and "xxx.png at http" in flaw.reason and "may be too long" in flaw.reason
