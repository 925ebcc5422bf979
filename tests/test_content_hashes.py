"""Remembered hashes: true whatever is done to a file, read once, shared by processes, never in the way."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mstar import content_hashes
from mstar.content_hashes import (
    SMALLEST_REMEMBERED,
    Stamp,
    cache_folder,
    is_settled,
    read_cached,
    remembered_sha256,
    write_cached,
)

CONTENT = b"abcdefgh" * (SMALLEST_REMEMBERED // 8)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MSTAR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that counts as at rest, without waiting for it."""
    path = tmp_path / "weights.safetensors"
    path.write_bytes(CONTENT)
    real = time.time_ns
    monkeypatch.setattr(content_hashes.time, "time_ns", lambda: real() + 10**10)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read for their hash from here on."""
    found: list[str] = []
    real = content_hashes.file_sha256
    monkeypatch.setattr(content_hashes, "file_sha256", lambda path: (found.append(str(path)), real(path))[1])
    return found


def test_a_file_is_read_once(settled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = reads(monkeypatch)
    monkeypatch.chdir(settled.parent)
    assert {remembered_sha256(settled), remembered_sha256(settled.name)} == {digest(settled)}
    assert found == [str(settled)]


@pytest.mark.parametrize("keep_times", [False, True])
def test_another_content_of_equal_size_is_noticed(settled: Path, keep_times: bool) -> None:
    before = remembered_sha256(settled)
    times = settled.stat()
    time.sleep(0.02)  # the fixture's clock is ahead, the file system's has to move on
    settled.write_bytes(CONTENT[::-1])
    if keep_times:
        os.utime(settled, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert remembered_sha256(settled) == digest(settled) != before


def test_a_file_that_has_just_changed_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, found = tmp_path / "fresh", reads(monkeypatch)
    for content in (CONTENT, CONTENT[::-1], CONTENT):
        path.write_bytes(content)
        assert remembered_sha256(path) == hashlib.sha256(content).hexdigest()
    assert len(found) == 3


def test_small_files_take_no_place_in_the_cache(settled: Path, cache: Path) -> None:
    settled.write_bytes(b"small")
    assert remembered_sha256(settled) == digest(settled)
    assert not cache.exists()


@pytest.mark.parametrize("left", [b"", b"{", b"[]", b'{"stamp": 3}', b"\xff"])
def test_a_broken_entry_is_computed_again(settled: Path, cache: Path, left: bytes) -> None:
    remembered_sha256(settled)
    (entry,) = (cache / "sha256").iterdir()
    for content in (left, content_hashes.checksum(left) + left, entry.read_bytes()[:-1]):
        entry.write_bytes(content)
        assert remembered_sha256(settled) == digest(settled)


def test_a_cache_that_cannot_be_written_is_done_without(
    settled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MSTAR_CACHE", str(tmp_path / "file" / "below"))
    assert remembered_sha256(settled) == digest(settled)
    write_cached("entry", b"data")
    assert read_cached("entry") is None


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        remembered_sha256(tmp_path / "absent")


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSTAR_CACHE", "/one")
    assert cache_folder() == Path("/one")
    monkeypatch.setenv("MSTAR_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/two")
    assert cache_folder() == Path("/two/mstar")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/three")
    assert cache_folder() == Path("/three/.cache/mstar")


def test_when_a_file_is_at_rest() -> None:
    now = 10**18
    old, young, future = now - 3 * 10**9, now - 10**9, now + 10**9
    assert is_settled(Stamp(1, old, old, 1), now)
    assert not is_settled(Stamp(1, old, young, 1), now)
    assert not is_settled(Stamp(1, young, old, 1), now)
    assert not is_settled(Stamp(1, old, future, 1), now)
    assert is_settled(Stamp(1, now + 10**12, old, 1), now)  # `touch -d tomorrow` is nothing to worry about


WRITER = """
import sys
from mstar.content_hashes import read_cached, write_cached
for turn in range(200):
    write_cached("shared", bytes([turn % 7]) * 50_000)
    found = read_cached("shared")
    assert found is not None and len(found) == 50_000 and len(set(found)) == 1
"""


def test_several_processes_at_once_see_whole_entries(cache: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    writers = [subprocess.Popen([sys.executable, "-c", WRITER], env=environment) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert [entry.name for entry in cache.iterdir()] == ["shared"]
