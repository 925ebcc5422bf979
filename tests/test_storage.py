"""Writing once on a real file system, and real disks that are full or read-only."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mstar.errors import UserError
from mstar.storage import SCRATCH, FileEntry, FolderStorage, build_storage, read_text, write_text


def test_written_files_are_read_and_listed(tmp_path: Path) -> None:
    storage = build_storage(str(tmp_path / "run"))
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


def test_what_a_failed_block_made_is_gone(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    write_text(storage, "x.json", "old")
    with pytest.raises(RuntimeError), storage.scratch() as path:
        path.write_text("half")
        raise RuntimeError("killed")
    assert read_text(storage, "x.json") == "old"
    assert list((tmp_path / SCRATCH).iterdir()) == []


def test_what_is_there_stays_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    assert write_text(storage, "x.json", "old", replace=False)
    assert not write_text(storage, "x.json", "new", replace=False)
    assert read_text(storage, "x.json") == "old"
    assert write_text(storage, "x.json", "new")
    assert read_text(storage, "x.json") == "new"


def make_folder(storage: FolderStorage, name: str, replace: bool = False) -> bool:
    with storage.scratch() as path:
        path.mkdir()
        (path / name).write_text(name)
        return storage.publish(path, "checkpoint", replace)


def test_a_folder_appears_whole_and_stays(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    assert make_folder(storage, "first")
    assert not make_folder(storage, "second")
    assert storage.keys("checkpoint/") == ["checkpoint/first"]
    assert make_folder(storage, "third", replace=True)
    assert storage.keys("checkpoint/") == ["checkpoint/third"]


def test_what_the_dead_left_is_deleted_and_what_the_living_make_is_not(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    dies = (
        "import os, sys; from pathlib import Path; from mstar.storage import FolderStorage\n"
        f"with FolderStorage(Path({str(tmp_path)!r})).scratch() as path:\n"
        "    path.mkdir(); (path / 'half').write_text('x'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", dies], check=False)
    (left,) = (tmp_path / SCRATCH).glob("*.part")
    with storage.scratch() as mine:
        mine.write_text("at work")
        assert not left.exists()
        write_text(storage, "x.json", "by another")
        assert mine.read_text() == "at work"
    assert list((tmp_path / SCRATCH).iterdir()) == []


def test_describing_gives_size_and_hash(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    write_text(storage, "x.json", "old")
    assert storage.describe("x.json") == FileEntry(3, hashlib.sha256(b"old").hexdigest())
    with pytest.raises(FileNotFoundError):
        storage.describe("none")


def test_a_second_holder_is_refused(tmp_path: Path) -> None:
    with (
        build_storage(str(tmp_path / "run")).hold(),
        pytest.raises(UserError, match="another mstar is at work"),
        build_storage(str(tmp_path / "run")).hold(),
    ):
        pass


@pytest.mark.parametrize("key", ["../outside", "a/../../outside", "/outside", "", "a/\0"])
def test_a_key_that_leads_out_of_the_run_is_refused(tmp_path: Path, key: str) -> None:
    storage = FolderStorage(tmp_path / "run")
    with pytest.raises(ValueError, match="is no key of a run"):
        write_text(storage, key, "escaped")
    with pytest.raises(ValueError, match="is no key of a run"):
        storage.remove(key)
    assert not (tmp_path / "outside").exists()


def test_buckets_are_refused_for_now() -> None:
    with pytest.raises(UserError, match="s3://bucket/run"):
        build_storage("s3://bucket/run")


def test_a_file_in_the_way_is_explained(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError, match="is a file; choose another output"):
        build_storage(str(tmp_path / "run" / "below"))
    with pytest.raises(UserError, match="a part of the path is a file"):
        write_text(FolderStorage(tmp_path / "run"), "x.json", "1")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting needs privileges: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_one_clear_line_and_loses_nothing(small_disk: Path) -> None:
    storage = FolderStorage(small_disk)
    write_text(storage, "x.json", "old")
    with pytest.raises(UserError, match="the disk is full; free some space"), storage.scratch() as path:
        path.write_bytes(os.urandom(8 << 20))
    assert read_text(storage, "x.json") == "old"
    assert storage.keys("") == ["x.json"]


def test_a_library_that_hides_the_reason_is_explained_all_the_same(small_disk: Path) -> None:
    storage = FolderStorage(small_disk)
    with pytest.raises(UserError, match="the disk is full"), storage.scratch() as path:
        try:
            path.write_bytes(os.urandom(8 << 20))
        except OSError as error:
            raise RuntimeError("writer failed") from error


def test_weights_that_do_not_fit_are_explained(small_disk: Path) -> None:
    """The writer of safetensors reserves the room first, so the disk is not even full when it fails."""
    storage = FolderStorage(small_disk)
    with pytest.raises(UserError, match="the disk is full"), storage.scratch() as path:
        path.mkdir()
        save_file({"weight": torch.zeros(2 << 20)}, path / "model.safetensors")
    assert storage.keys("") == []


def test_a_read_only_disk_is_explained(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(UserError, match="read-only; choose another output"):
        write_text(FolderStorage(small_disk), "x.json", "1")
