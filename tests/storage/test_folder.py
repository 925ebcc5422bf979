"""Real file systems: what killed processes leave, and disks that are full or read-only."""

import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mstar.errors import UserError
from mstar.storage import build_storage, read_text, write_text
from mstar.storage.folder import SCRATCH, FolderStorage


def test_what_the_dead_left_is_deleted_and_what_the_living_make_is_not(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    dies = (
        "import os, sys; from pathlib import Path; from mstar.storage.folder import FolderStorage\n"
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


def test_a_file_in_the_way_is_explained(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError, match="is a file; choose another output"):
        build_storage(str(tmp_path / "run" / "below"))
    with pytest.raises(UserError, match="a part of the path is a file"):
        write_text(FolderStorage(tmp_path / "run"), "x.json", "1")


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


def test_what_goes_while_it_is_written_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process removes the file between the try to write it and the look why that failed."""
    storage, link = FolderStorage(tmp_path), os.link
    write_text(storage, "begun.json", "of another")

    def overtaken(path: Path, target: Path) -> None:
        try:
            link(path, target)
        except FileExistsError:
            target.unlink()
            raise

    monkeypatch.setattr(os, "link", overtaken)
    assert write_text(storage, "begun.json", "ours", replace=False)
    assert storage.read("begun.json") == b"ours"


def test_a_scratch_folder_may_go_at_any_moment(tmp_path):
    """As `mstar export` and `mstar datasets prepare` remove it when they are done."""
    storage, is_over = FolderStorage(tmp_path), threading.Event()

    def remove() -> None:
        while not is_over.is_set():
            with suppress(OSError):
                (tmp_path / ".scratch").rmdir()

    thread = threading.Thread(target=remove)
    thread.start()
    try:
        for _ in range(1000):
            with storage.scratch() as path:
                path.write_text("x")
    finally:
        is_over.set()
        thread.join()
