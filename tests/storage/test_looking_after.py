"""`mstar verify` and `mstar clean` on a run in a bucket, whose server keeps other bytes than were written."""

import io
import shutil
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from mstar.storage import Storage, build_storage, write_text
from mstar.verification import verify
from tests.commands import mstar
from tests.smoke import fingerprints, smoke_arguments
from tests.storage.faults import FAULTS, proxy
from tests.storage.servers import BUCKET, VARIABLES, Stored, client

SCORE = "iterations/000/score"


@pytest.fixture(scope="module")
def stored(moto: str, finished: Path) -> str:
    """The finished run, in a bucket."""
    output = f"s3://{BUCKET}/looking/{uuid.uuid4().hex}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**VARIABLES, "AWS_ENDPOINT_URL_S3": moto}.items():
            patch.setenv(name, value)
        paths = (path for path in finished.rglob("*") if path.is_file() and "/." not in str(path))
        store(output, finished, (path.relative_to(finished).as_posix() for path in paths))
    return output


def store(output: str, run: Path, keys: Iterable[str]) -> None:
    storage = build_storage(output)
    for key in sorted(keys):
        with storage.scratch() as copy:
            shutil.copyfile(run / key, copy)
            storage.publish(copy, key, replace=True)


@pytest.fixture
def output(stored: str, moto: str, finished: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The same, and what a test has changed there is put back at its end."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto)
    server = Stored(moto, stored)
    before = server.etags()
    yield stored
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto)
    after = server.etags()
    for key in after.keys() - before.keys():
        build_storage(stored).remove(key)
    store(stored, finished, (key for key, etag in before.items() if after.get(key) != etag))


@pytest.fixture
def storage(output: str) -> Storage:
    return build_storage(output)


def spoil(moto: str, output: str, storage: Storage, prefix: str) -> str:
    """Flip a bit of the first file that begins so; what the server says of it stays the same."""
    key, stored = storage.keys(prefix)[0], Stored(moto, output)
    data = bytearray(stored.read(key))
    data[len(data) // 2] ^= 1
    name = f"{output.removeprefix(f's3://{BUCKET}/')}/{key}"
    metadata = {"sha256": stored.headers(key)["x-amz-meta-sha256"]}
    server = client(moto)
    server.put_object(BUCKET, name, io.BytesIO(bytes(data)), len(data), metadata=metadata)
    return key


def wrong(output: str, storage: Storage) -> list[tuple[str, str]]:
    found = verify(output, storage).findings
    return [(one.state, one.key) for one in found if one.state in ("damaged", "missing")]


def test_a_whole_run_is_whole_through_every_fault(output: str, moto: str) -> None:
    with proxy(moto, every=5) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", server.address)
        assert verify(output, build_storage(output)).findings == ()
        assert set(server.injected) == set(FAULTS)


@pytest.mark.parametrize(
    "prefix", [f"{SCORE}/part-", "iterations/000/train/checkpoint-", f"{SCORE}/manifest"]
)
def test_what_the_server_keeps_otherwise_is_damaged(
    output: str, storage: Storage, moto: str, prefix: str
) -> None:
    """Whatever the cache has of it."""
    key = spoil(moto, output, storage, prefix)
    done = mstar("verify", output, check=False)
    assert done.returncode == 1 and f"damaged     {key}: " in done.stdout
    assert done.stdout.count("damaged  ") == 1 and "missing  " not in done.stdout


def test_what_is_gone_is_missing(output: str, storage: Storage) -> None:
    (key, *_) = storage.keys(f"{SCORE}/part-")
    storage.remove(key)
    assert wrong(output, storage) == [("missing", key)]


def test_leftovers_go_and_what_counts_stays(output: str, storage: Storage, moto: str, finished: Path) -> None:
    write_text(storage, f"{SCORE}/begun.json", "{}")
    write_text(storage, f"{SCORE}/part-00000-000000000000.parquet", "left")
    write_text(storage, "iterations/000/train/checkpoint-000000000000/config.json", "left")
    write_text(storage, "notes.txt", "mine")
    done = mstar("clean", output, "--yes")
    assert "3 files or folders (0.0 MB) deleted" in done.stdout
    assert storage.keys("notes") == ["notes.txt"]
    storage.remove("notes.txt")
    assert Stored(moto, output).fingerprints() == fingerprints(finished)


def test_no_run_and_no_bucket_are_one_line_each(output: str) -> None:
    for address, line in (
        (f"{output}-none", "is not a run: there is neither run.yaml nor a stage"),
        (output.replace(f"s3://{BUCKET}/", "s3://other-runs/"), "there is no such bucket"),
    ):
        done = mstar("verify", address, check=False)
        assert done.returncode == 2
        (said,) = done.stderr.splitlines()
        assert line in said


def test_a_run_that_goes_on_asks_little_of_what_is_finished(
    output: str, moto: str, problems: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a finished stage its manifest is read once, and its iteration listed once for the loop and once for
    the report.
    """
    with proxy(moto) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.address)
        mstar(*smoke_arguments(problems, output))
        asked = Counter(path for path, _ in server.seen)
    assert asked.total() < 1000, "all that was asked is remembered"
    for stage in ("generate", "score", "select", "train", "evaluate"):
        (manifest,) = (path for path in asked if path.endswith(f"iterations/000/{stage}/manifest.json"))
        assert asked[manifest] <= 2, "what it is, and its contents"
        assert not [path for path in asked if "list-type=2" in path and f"000%2F{stage}%2F" in path]
    listings = [path for path in asked if "list-type=2" in path and path.endswith("iterations%2F000%2F")]
    assert sum(asked[path] for path in listings) == 2
