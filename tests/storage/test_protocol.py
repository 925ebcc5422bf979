"""What every storage has to do, on a folder, on moto's server and on a real MinIO."""

import hashlib
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mstar.config_storage import StorageSettings
from mstar.errors import UserError, WrongBytes
from mstar.storage import FileEntry, Storage, build_storage, read_text, write_text
from tests.storage.servers import OWN_SERVER

Open = Callable[[], Storage]
LARGE = 1 << 20


SERVERS = ["moto", "minio", *(["own_server"] if OWN_SERVER in os.environ else [])]


@pytest.fixture(params=["folder", *SERVERS])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens one run again and again, each time as a process of its own with a cache of its own would."""
    if request.param == "folder":
        return lambda: build_storage(str(tmp_path / "run"))
    found = request.getfixturevalue(request.param)
    address, folder = (found, f"s3://runs/tests/{uuid.uuid4().hex}") if isinstance(found, str) else found

    def open_again() -> Storage:
        cache = tmp_path / uuid.uuid4().hex
        settings = StorageSettings(endpoint=address, cache=str(cache), retries=2)
        return build_storage(folder, settings)

    return open_again


@pytest.fixture
def storage(opened: Open) -> Storage:
    return opened()


def test_written_files_are_read_and_listed(storage: Storage) -> None:
    write_text(storage, "a/b.json", "1")
    write_text(storage, "a/c/d.json", "2")
    write_text(storage, "ab.json", "3")
    assert read_text(storage, "a/b.json") == "1"
    assert storage.keys("a/") == ["a/b.json", "a/c/d.json"]
    assert storage.keys("a") == ["a/b.json", "a/c/d.json", "ab.json"]
    with pytest.raises(FileNotFoundError):
        read_text(storage, "a/none.json")
    storage.remove("a/c")
    storage.remove("a/c")
    storage.remove("ab.json")
    assert storage.keys("") == ["a/b.json"]


def test_names_with_letters_that_addresses_escape(storage: Storage) -> None:
    write_text(storage, "a/ü 1+2 %41 #?.json", "1")
    assert storage.keys("a/") == ["a/ü 1+2 %41 #?.json"]
    assert read_text(storage, "a/ü 1+2 %41 #?.json") == "1"


def test_an_empty_file_is_one(storage: Storage) -> None:
    write_text(storage, "empty.json", "")
    assert read_text(storage, "empty.json") == ""
    assert storage.describe("empty.json") == FileEntry(0, hashlib.sha256(b"").hexdigest())


def test_what_a_failed_block_made_is_gone(storage: Storage) -> None:
    write_text(storage, "x.json", "old")
    with pytest.raises(RuntimeError), storage.scratch() as path:
        path.write_text("half")
        raise RuntimeError("killed")
    assert read_text(storage, "x.json") == "old"
    assert not path.exists()


def test_what_is_there_stays_unless_it_is_to_be_replaced(storage: Storage) -> None:
    assert write_text(storage, "x.json", "old", replace=False)
    assert not write_text(storage, "x.json", "new", replace=False)
    assert read_text(storage, "x.json") == "old"
    assert write_text(storage, "x.json", "new")
    assert read_text(storage, "x.json") == "new"


def test_of_many_first_writers_one_is_the_first(opened: Open) -> None:
    storages = [opened() for _ in range(8)]
    was_first: list[int] = []
    barrier = threading.Barrier(len(storages))

    def write(number: int) -> None:
        barrier.wait()
        if write_text(storages[number], "manifest.json", str(number), replace=False):
            was_first.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(len(storages))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [read_text(opened(), "manifest.json")] == [str(number) for number in was_first]


def publish_folder(storage: Storage, files: dict[str, bytes], replace: bool = False) -> bool:
    with storage.scratch() as path:
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
        return storage.publish(path, "checkpoint", replace)


def test_a_folder_appears_whole_and_stays(opened: Open) -> None:
    storage = opened()
    weights = os.urandom(LARGE)
    assert publish_folder(storage, {"first": b"1", "below/weights": weights})
    assert not publish_folder(storage, {"second": b"2"})
    assert storage.keys("checkpoint/") == ["checkpoint/below/weights", "checkpoint/first"]
    with opened().reading("checkpoint") as folder:
        assert sorted(path.name for path in folder.iterdir()) == ["below", "first"]
        assert (folder / "below" / "weights").read_bytes() == weights
    assert publish_folder(storage, {"third": b"3"}, replace=True)
    assert storage.keys("checkpoint/") == ["checkpoint/third"]
    storage.remove("checkpoint")
    with pytest.raises(FileNotFoundError), storage.reading("checkpoint"):
        pass


def test_large_files_are_read_as_they_were_written(opened: Open) -> None:
    data = os.urandom(3 * LARGE + 1)
    storage = opened()
    with storage.scratch() as path:
        path.write_bytes(data)
        assert storage.publish(path, "part.parquet")
    entry = FileEntry(len(data), hashlib.sha256(data).hexdigest())
    assert storage.describe("part.parquet") == opened().describe("part.parquet") == entry
    for reader in (storage, opened()):
        with reader.reading("part.parquet") as path:
            assert path.read_bytes() == data


def test_describing_gives_size_and_hash(storage: Storage) -> None:
    write_text(storage, "x.json", "old")
    assert storage.describe("x.json") == FileEntry(3, hashlib.sha256(b"old").hexdigest())
    with pytest.raises(FileNotFoundError):
        storage.describe("none")


def test_a_second_holder_on_this_machine_is_refused(storage: Storage) -> None:
    with storage.hold(), pytest.raises(UserError, match="another mstar is at work"), storage.hold():
        pass
    with storage.hold():
        pass


@pytest.mark.parametrize("key", ["../outside", "a/../../outside", "/outside", "", "a/\0"])
def test_a_key_that_leads_out_of_the_run_is_refused(storage: Storage, tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="is no key of a run"):
        write_text(storage, key, "escaped")
    with pytest.raises(ValueError, match="is no key of a run"):
        storage.remove(key)
    assert not (tmp_path / "outside").exists()


def test_a_killed_process_leaves_nothing_that_can_be_seen(opened: Open, tmp_path: Path) -> None:
    """Killed between making a file and publishing it."""
    storage = opened()
    write_text(storage, "x.json", "old")
    pid = os.fork()
    if pid == 0:
        with storage.scratch() as path:
            path.write_text("half")
            os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    assert storage.keys("") == ["x.json"]


def test_without_the_client_the_error_says_what_to_install() -> None:
    hides = "import sys; sys.modules['minio'] = None\n"
    asks = "from mstar.storage import build_storage; build_storage('s3://bucket/run')"
    done = subprocess.run([sys.executable, "-c", hides + asks], capture_output=True, text=True)
    assert "pip install 'mstar[s3]'" in done.stderr.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("opened", SERVERS, indirect=True)
def test_more_files_than_a_server_lists_at_once(opened: Open) -> None:
    storage = opened()
    keys = [f"stage/part-{number:05d}.parquet" for number in range(1234)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: write_text(storage, key, key), keys))
    assert storage.keys("stage/") == keys
    assert storage.sizes("stage/part-010") == {key: len(key) for key in keys[1000:1100]}


def test_sizes_and_bytes_as_they_are_stored(storage: Storage) -> None:
    data = os.urandom(9 * LARGE + 1)
    write_text(storage, "a/small.json", "12")
    write_text(storage, "a/empty.json", "")
    with storage.scratch() as path:
        path.write_bytes(data)
        storage.publish(path, "a/large.parquet")
    assert storage.sizes("a/") == {"a/small.json": 2, "a/empty.json": 0, "a/large.parquet": len(data)}
    assert b"".join(storage.blocks("a/large.parquet")) == data
    assert b"".join(storage.blocks("a/small.json")) == b"12"
    assert b"".join(storage.blocks("a/empty.json")) == b""
    with pytest.raises(FileNotFoundError):
        list(storage.blocks("a/none.json"))


@pytest.mark.parametrize("size", [9, LARGE])
def test_a_file_that_somebody_has_replaced_is_not_taken_for_the_recorded_one(opened: Open, size: int) -> None:
    """Names and sizes are compared when a stage begins; contents when they are read."""
    contents = {name: os.urandom(size) for name in ("recorded", "other")}
    for data in contents.values():
        storage = opened()
        with storage.scratch() as path:
            path.write_bytes(data)
            storage.publish(path, "part.parquet", replace=True)
    recorded, other = (hashlib.sha256(data).hexdigest() for data in contents.values())
    with opened().reading("part.parquet", other) as path:
        assert path.read_bytes() == contents["other"]
    with pytest.raises(WrongBytes, match="as it was written .its sha256 differs"):
        opened().reading("part.parquet", recorded).__enter__()
