"""Where the files of a run live, so that a folder and a bucket look the same to the stages.

A key is a path relative to the run, with forward slashes; it names a file, or a folder such as a checkpoint.
Things are made in `scratch`, where nobody looks, and appear whole by `publish`. What counts is written once,
under a name of its own, and a small file says which one counts (see stagedir.py); only views and notes
(report.html, timing.json) are replaced. So any number of processes may work on one run, on a folder and on a
bucket. Only the folder kind is here; a bucket adds a class and a case in `build_storage`.
"""

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from mstar.content_hashes import remembered_sha256
from mstar.errors import UserError

SCRATCH, LOCK = ".scratch", ".lock"
REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EFBIG: "files may not grow that large here; raise the limit or choose another output",
    errno.EROFS: "the file system is read-only; choose another output",
    errno.EACCES: "writing is not allowed there; choose another output or change its permissions",
    errno.EPERM: "writing is not allowed there; choose another output or change its permissions",
    errno.ENOTDIR: "a part of the path is a file; choose another output",
    errno.EEXIST: "a part of the path is a file; choose another output",
    errno.EIO: "the disk reports an error; check it",
}


@dataclass(frozen=True, slots=True)
class FileEntry:
    """What is known of a stored file without its bytes."""

    size: int
    sha256: str


class Storage(Protocol):
    def scratch(self) -> AbstractContextManager[Path]:
        """A local path where the block may make a file or a folder; what stays there goes with the block."""

    def publish(self, path: Path, key: str, replace: bool = False, durable: bool = True) -> bool:
        """Move a file or a folder to `key`, where it appears whole or not at all.

        False, and nothing is changed, where something has that key already; unless it is to be replaced.
        What is not `durable` may be lost or cut when the machine loses its power: views and notes, and files
        that are settled later.
        """

    def settle(self, keys: Iterable[str]) -> None:
        """Make published files outlive a loss of power; those that are gone meanwhile are left alone."""

    def reading(self, key: str) -> AbstractContextManager[Path]:
        """A local path with the contents of `key`, a file or a folder, as long as the block lasts.

        FileNotFoundError if there is none.
        """

    def describe(self, key: str) -> FileEntry:
        """Size and sha256 of a file; FileNotFoundError if there is none."""

    def keys(self, prefix: str) -> list[str]:
        """The keys of all files that begin with `prefix`, sorted."""

    def remove(self, key: str) -> None:
        """Delete a file or a folder, if it is there."""

    def hold(self) -> AbstractContextManager[None]:
        """Keep a second loop from doing all the work once more, as long as the block lasts; UserError if one
        is at work. Nothing relies on it: stages bear any number of writers.
        """

    def free_bytes(self) -> int | None:
        """Room that is left; None where there is no limit that one could ask for."""


def build_storage(output: str) -> Storage:
    """The storage that `output` names; UserError where there cannot be one."""
    if "://" in output:
        raise UserError(f"output is {output}; this version writes to folders only; name a folder")
    nearest = _nearest_existing(Path(output))
    if not nearest.is_dir():
        raise UserError(f"output is {output}, but {nearest} is a file; choose another output")
    return FolderStorage(Path(output))


def read_text(storage: Storage, key: str) -> str:
    """A small text file; FileNotFoundError if there is none."""
    with storage.reading(key) as path:
        return path.read_text(encoding="utf-8")


def write_text(storage: Storage, key: str, text: str, replace: bool = True, durable: bool = True) -> bool:
    """Write a small text file; False where it is there already and not to be replaced."""
    with storage.scratch() as path:
        path.write_text(text, encoding="utf-8")
        return storage.publish(path, key, replace, durable)


class FolderStorage:
    """Files below one folder. What is made in `.scratch` is flushed to disk, then moved into place."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A lock tells others that its maker lives: what the dead have left is deleted on the way."""
        folder = self.root / SCRATCH
        path = folder / f"{secrets.token_hex(8)}.part"
        with _explained(path):
            folder.mkdir(parents=True, exist_ok=True)
            _discard_leftovers(folder)
            lock = path.with_suffix(".lock").open("w")
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                with _explained(path):
                    yield path
            finally:
                _discard(path)
                _discard(path.with_suffix(".lock"))

    def publish(self, path: Path, key: str, replace: bool = False, durable: bool = True) -> bool:
        target = self._place(key)
        with _explained(target):
            if durable:
                _flush(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            if replace and target.is_dir():
                self.remove(key)
            try:
                _move(path, target, replace)
            except OSError as error:
                if error.errno in (errno.EEXIST, errno.ENOTEMPTY) and target.exists():
                    return False
                raise
            if durable:
                _flush_entry(target.parent)
            return True

    def settle(self, keys: Iterable[str]) -> None:
        """One flush for each file, and one for each folder that lists them."""
        places = [self._place(key) for key in keys]
        for place in [*places, *dict.fromkeys(place.parent for place in places)]:
            with suppress(FileNotFoundError):
                _flush_entry(place)

    @contextmanager
    def reading(self, key: str) -> Iterator[Path]:
        path = self._place(key)
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, "no such file in the run", str(path))
        yield path

    def describe(self, key: str) -> FileEntry:
        return describe(self._place(key))

    def keys(self, prefix: str) -> list[str]:
        start = self.root / prefix.rpartition("/")[0]
        found: list[str] = []
        for folder, below, files in os.walk(start):
            below[:] = [name for name in below if not name.startswith(".")]
            place = PurePosixPath(Path(folder).relative_to(self.root).as_posix())
            found += [(place / name).as_posix() for name in files if not name.startswith(".")]
        return sorted(key for key in found if key.startswith(prefix))

    def remove(self, key: str) -> None:
        """A folder leaves its place whole before it is deleted, so that nobody reads half of it."""
        path = self._place(key)
        with suppress(FileNotFoundError):
            if path.is_dir():
                with self.scratch() as grave:
                    os.rename(path, grave)
            else:
                path.unlink()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """The kernel lets go even after kill -9."""
        with _explained(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            file = (self.root / LOCK).open("w")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(
                    f"another mstar is at work in {self.root}; wait for it or choose another output"
                ) from None
            yield

    def free_bytes(self) -> int | None:
        return shutil.disk_usage(_nearest_existing(self.root)).free

    def _place(self, key: str) -> Path:
        """Where a key lies; one that leads out of the run is a mistake of ours."""
        parts = PurePosixPath(key).parts
        if not parts or key.startswith("/") or ".." in parts or "\0" in key:
            raise ValueError(f"{key!r} is no key of a run: it must be a path below it")
        return self.root / key


def describe(path: Path) -> FileEntry:
    """Size and sha256 of a local file."""
    return FileEntry(path.stat().st_size, remembered_sha256(path))


def _move(path: Path, target: Path, replace: bool) -> None:
    """Only a link refuses to overwrite a file; a folder is never renamed onto one that holds something."""
    if path.is_dir() or replace:
        os.rename(path, target)
        return
    try:
        os.link(path, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        if target.exists():  # no hard links here: of two writers at one moment, the last one stays
            raise FileExistsError(errno.EEXIST, "is there already", str(target)) from None
        os.rename(path, target)


def _flush(path: Path) -> None:
    """Make the kernel put a file, or a new folder and all that is in it, on the disk."""
    if path.is_dir():
        for inner in path.iterdir():
            _flush(inner)
    _flush_entry(path)


def _flush_entry(path: Path) -> None:
    """The same for one file, or for the list of names in one folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _discard_leftovers(folder: Path) -> None:
    """What killed processes have left: the kernel let go of their locks."""
    for lock in folder.glob("*.lock"):
        with suppress(OSError), lock.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _discard(lock.with_suffix(".part"))
            _discard(lock)


def _discard(scratch: Path) -> None:
    if scratch.is_dir():
        shutil.rmtree(scratch, ignore_errors=True)
    else:
        with suppress(OSError):
            scratch.unlink()


@contextmanager
def _explained(target: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if explained := _explain(error, target):
            raise explained from error
        raise


def _explain(error: Exception, target: Path) -> UserError | None:
    """The user's side of a failed write.

    Libraries wrap the system's error in their own, so its number is also looked for in the message, and a
    full disk is measured.
    """
    if isinstance(error, UserError | FileNotFoundError):
        return None
    named = re.search(r"(?:os error|errno) (\d+)", str(error), re.IGNORECASE)
    number = error.errno if isinstance(error, OSError) else int(named[1]) if named else None
    reason = REMEDIES.get(number or 0) or (REMEDIES[errno.ENOSPC] if _is_full(target) else None)
    if reason is None:
        return None
    return UserError(
        f"cannot write {target}: {reason}; then start the same command again; what is committed is kept"
    )


def _is_full(target: Path) -> bool:
    return shutil.disk_usage(_nearest_existing(target.parent)).free < 1 << 20


def _nearest_existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())
