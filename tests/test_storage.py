"""Atomic writes on a real file system, and real disks that are full or read-only."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mstar.errors import UserError
from mstar.storage import FolderStorage, build_storage, write_text


def test_written_files_are_read_and_listed(tmp_path: Path) -> None:
    storage = build_storage(str(tmp_path / "run"))
    write_text(storage, "a/b.json", "1")
    write_text(storage, "a/c/d.json", "2")
    write_text(storage, "ab.json", "3")
    assert storage.read("a/b.json").read_text() == "1"
    assert storage.keys("a/") == ["a/b.json", "a/c/d.json"]
    assert storage.keys("a") == ["a/b.json", "a/c/d.json", "ab.json"]
    with pytest.raises(FileNotFoundError):
        storage.read("a/none.json")


def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    write_text(storage, "x.json", "old")
    with pytest.raises(RuntimeError), storage.write("x.json") as path:
        path.write_text("half")
        raise RuntimeError("killed")
    assert storage.read("x.json").read_text() == "old"
    assert list(tmp_path.iterdir()) == [tmp_path / "x.json"]


def test_a_folder_replaces_the_whole_folder(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    for name in ("first", "second"):
        with storage.write("checkpoint") as path:
            path.mkdir()
            (path / name).write_text(name)
    assert storage.keys("checkpoint/") == ["checkpoint/second"]


def test_buckets_are_refused_for_now() -> None:
    with pytest.raises(UserError, match="s3://bucket/run"):
        build_storage("s3://bucket/run")


def test_a_file_in_the_way_is_explained(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError, match="a part of the path is a file"):
        write_text(build_storage(str(tmp_path / "run")), "x.json", "1")


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
    with pytest.raises(UserError, match="the disk is full; free some space"), storage.write("x.json") as path:
        path.write_bytes(os.urandom(8 << 20))
    assert storage.read("x.json").read_text() == "old"
    assert storage.keys("") == ["x.json"]


def test_a_library_that_hides_the_reason_is_explained_all_the_same(small_disk: Path) -> None:
    storage = FolderStorage(small_disk)
    with pytest.raises(UserError, match="the disk is full"), storage.write("weights") as path:
        try:
            path.write_bytes(os.urandom(8 << 20))
        except OSError as error:
            raise RuntimeError("writer failed") from error


def test_weights_that_do_not_fit_are_explained(small_disk: Path) -> None:
    """The writer of safetensors reserves the room first, so the disk is not even full when it fails."""
    storage = FolderStorage(small_disk)
    with pytest.raises(UserError, match="the disk is full"), storage.write("checkpoint") as path:
        path.mkdir()
        save_file({"weight": torch.zeros(2 << 20)}, path / "model.safetensors")
    assert list(small_disk.iterdir()) == []


def test_a_read_only_disk_is_explained(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(UserError, match="read-only; choose another output"):
        write_text(FolderStorage(small_disk), "x.json", "1")
