"""Hashes of files, remembered on this machine: a large file is read for its hash once, not at every start.

A file is known again by its path, size, times and inode (its `Stamp`). A hash is remembered only if the file
had been at rest for a while when it was read: a file that is written twice within one tick of the clock can
have one stamp and two contents. The memory is one small file per entry in the cache folder, written beside
its place and renamed, so that any number of processes may share it; where the folder cannot be written or an
entry cannot be read, things are computed again, without a word. Deleting the folder costs time only.
"""

import hashlib
import json
import os
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from mstar.addresses import is_address

SETTLED_SECONDS = 2.0
"""A file is at rest when it last changed so long ago: more than a tick of any file system's clock."""

SMALLEST_REMEMBERED = 1 << 20
"""Bytes. Smaller files are hashed as fast as an entry is found; and many small files fill no cache."""

SMALL_FILE = 1 << 15
"""Bytes. Smaller files are read and hashed in one go."""

CHECKSUM_BYTES = 16
"""At the beginning of every entry in the cache."""

HASHES = "sha256"
"""Folder of the remembered hashes in the cache folder."""


class Stamp(NamedTuple):
    """What the file system says of a file; another content has another stamp where `is_settled`."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


def stamp_of(path: str | Path) -> Stamp:
    """The stamp of a file, links followed; OSError if there is none."""
    return stamp_from(os.stat(path))


def stamp_from(found: os.stat_result) -> Stamp:
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def is_settled(stamp: Stamp, now_ns: int) -> bool:
    """Whether the file's last change is long enough ago for its stamp to stand for its content.

    A change time in the future (another machine's clock) counts as just changed.
    """
    quiet = SETTLED_SECONDS * 1e9
    return now_ns - stamp.ctime_ns > quiet and abs(now_ns - stamp.mtime_ns) > quiet


def file_sha256(path: str | Path) -> str:
    """The sha256 of a file's bytes, read now."""
    with open(path, "rb") as file:
        head = file.read(SMALL_FILE)
        found = hashlib.sha256(head)
        if len(head) == SMALL_FILE:  # only then: file_digest takes a buffer of 256 KiB, for 50,000 images too
            file.seek(0)
            found = hashlib.file_digest(file, "sha256")
    return found.hexdigest()


def remembered_sha256(path: str | Path) -> str:
    """The sha256 of a file's bytes; read only if it is not remembered or the file has changed since."""
    now_ns, stamp = time.time_ns(), stamp_of(path)
    if stamp.size < SMALLEST_REMEMBERED:
        return file_sha256(path)
    name = f"{HASHES}/{entry_name(path)}"
    if found := _remembered(name, stamp):
        return found
    sha256 = file_sha256(path)
    if is_settled(stamp, now_ns) and stamp_of(path) == stamp:
        write_cached(
            name, json.dumps({"path": os.path.abspath(path), "stamp": stamp, "sha256": sha256}).encode()
        )
    return sha256


def _remembered(name: str, stamp: Stamp) -> str | None:
    data = read_cached(name)
    if data is None:
        return None
    try:
        match json.loads(data):
            case {"stamp": [*numbers], "sha256": str() as sha256} if tuple(numbers) == stamp:
                return sha256
    except ValueError:
        pass
    return None


def cache_folder() -> Path:
    """Where things are kept that can be computed again: $MSTAR_CACHE, or `mstar` in the user's cache folder.

    It need not exist. Where a user has no home, it is a path at which nothing can be written.
    """
    if own := os.environ.get("MSTAR_CACHE"):
        return Path(own)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "mstar"
    try:
        return Path.home() / ".cache" / "mstar"
    except RuntimeError:
        return Path(os.devnull) / "mstar"


def entry_name(path: str | Path) -> str:
    """The name of the cache entry about a file: the same for every way to write its path, or its address."""
    place = path if is_address(path) else os.path.abspath(path)
    return hashlib.sha256(os.fsencode(place)).hexdigest()[:40]


def read_cached(name: str) -> bytes | None:
    """What `write_cached` has kept under a name (with forward slashes), or None if it is not there whole."""
    try:
        with (cache_folder() / name).open("rb") as file:
            noted, data = file.read(CHECKSUM_BYTES), file.read()
    except OSError:
        return None
    return data if checksum(data) == noted else None


def checksum(data: bytes | memoryview) -> bytes:
    """What tells an entry that a crash of the machine has left half written."""
    return hashlib.blake2b(data, digest_size=CHECKSUM_BYTES).digest()


def write_cached(name: str, data: bytes | memoryview) -> None:
    """Keep data under a name, whole or not at all; does nothing where the cache folder cannot be written."""
    target = cache_folder() / name
    scratch = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as file:
            file.write(checksum(data))
            file.write(data)
        os.replace(scratch, target)
    except OSError:
        with suppress(OSError):
            scratch.unlink()
