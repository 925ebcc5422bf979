"""A run in a folder: what is made in `.scratch` is flushed to disk, then moved into place."""

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TextIO

from mstar.errors import UserError, WrongBytes
from mstar.storage import FileEntry, checked_key, describe

SCRATCH, LOCK = ".scratch", ".lock"
BLOCK_BYTES = 1 << 20
REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EFBIG: "files may not grow that large here; raise the limit or choose another {what}",
    errno.EROFS: "the file system is read-only; choose another {what}",
    errno.EACCES: "writing is not allowed there; choose another {what} or change its permissions",
    errno.EPERM: "writing is not allowed there; choose another {what} or change its permissions",
    errno.ENOTDIR: "a part of the path is a file; choose another {what}",
    errno.EEXIST: "a part of the path is a file; choose another {what}",
    errno.EIO: "the disk reports an error; check it",
}


def open_folder(output: str) -> "FolderStorage":
    """The storage in a folder, which need not exist; UserError where a file stands in its way."""
    nearest = _nearest_existing(Path(output))
    if not nearest.is_dir():
        raise UserError(f"output is {output}, but {nearest} is a file; choose another output")
    return FolderStorage(Path(output))


class FolderStorage:
    """Files below one folder."""

    def __init__(self, root: Path, what: str = "output") -> None:
        """`what` names the setting that says where it is."""
        self.root = root
        self._what = what

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A lock tells others that its maker lives: what the dead have left is deleted on the way."""
        folder = self.root / SCRATCH
        path = folder / f"{secrets.token_hex(8)}.part"
        with explained(path, self._what):
            lock = _lock_in(folder, path.with_suffix(".lock").name)
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                with explained(path, self._what):
                    yield path
            finally:
                _discard(path)
                _discard(path.with_suffix(".lock"))

    def publish(self, path: Path, key: str, replace: bool = False, durable: bool = True) -> bool:
        target = self._place(key)
        with explained(target, self._what):
            if durable:
                _flush(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            if replace and target.is_dir():
                self.remove(key)
            while True:
                try:
                    _move(path, target, replace)
                    break
                except OSError as error:
                    if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                        raise
                if os.path.lexists(target):  # else another process has removed it meanwhile
                    return False
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
    def reading(self, key: str, sha256: str | None = None) -> Iterator[Path]:
        path = self._place(key)
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, "no such file in the run", str(path))
        if sha256 is not None and describe(path).sha256 != sha256:
            raise WrongBytes(
                f"{path} is not as it was written (its sha256 differs); run the stage that wrote it again, "
                "which makes it anew"
            )
        yield path

    def read(self, key: str) -> bytes:
        return self._place(key).read_bytes()

    def expect(self, folders: Sequence[str], names: Collection[str]) -> None:
        """A disk answers at once."""

    def describe(self, key: str) -> FileEntry:
        return describe(self._place(key))

    def known_sha256(self, key: str) -> str | None:
        with suppress(FileNotFoundError):
            return self.describe(key).sha256
        return None

    def keys(self, prefix: str) -> list[str]:
        start = self.root / prefix.rpartition("/")[0]
        found: list[str] = []
        for folder, below, files in os.walk(start):
            below[:] = [name for name in below if not name.startswith(".")]
            place = PurePosixPath(Path(folder).relative_to(self.root).as_posix())
            found += [(place / name).as_posix() for name in files if not name.startswith(".")]
        return sorted(key for key in found if key.startswith(prefix))

    def sizes(self, prefix: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for key in self.keys(prefix):
            with suppress(FileNotFoundError):
                found[key] = self._place(key).stat().st_size
        return found

    def blocks(self, key: str) -> Iterator[bytes]:
        with self._place(key).open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block

    def abandoned(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for lock in _locks_of_the_dead(self.root / SCRATCH):
            part = lock.with_suffix(".part")
            files = [file for file in (part, *part.rglob("*")) if file.is_file()]
            if files:
                found[f"{SCRATCH}/{part.name}"] = sum(file.stat().st_size for file in files)
        return found

    def remove(self, key: str) -> None:
        """A folder leaves its place whole before it is deleted, so that nobody reads half of it."""
        path = self._place(key)
        with suppress(FileNotFoundError):
            if path.is_dir():
                with self.scratch() as grave:
                    os.rename(path, grave)
            else:
                path.unlink()

    def hold(self) -> AbstractContextManager[None]:
        return held_lock(self.root / LOCK, str(self.root))

    def free_bytes(self) -> int | None:
        return shutil.disk_usage(_nearest_existing(self.root)).free

    def _place(self, key: str) -> Path:
        return self.root / checked_key(key)


@contextmanager
def held_lock(file: Path, run: str) -> Iterator[None]:
    """The lock of the one loop on this machine that works on a run; the kernel lets go even after kill -9."""
    with explained(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"another mstar is at work in {run}; wait for it or choose another output"
            ) from None
        yield


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
    for lock in _locks_of_the_dead(folder):
        _discard(lock.with_suffix(".part"))
        _discard(lock)


def _locks_of_the_dead(folder: Path) -> Iterator[Path]:
    """Each is held as long as the caller looks at it."""
    for lock in folder.glob("*.lock"):
        with suppress(OSError), lock.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield lock


def _lock_in(folder: Path, name: str) -> TextIO:
    """A new file in the scratch folder, which another process may remove whenever it is empty."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _discard_leftovers(folder)
            return (folder / name).open("w")
        except (FileExistsError, FileNotFoundError):
            if os.path.lexists(folder) and not folder.is_dir():
                raise


def _discard(scratch: Path) -> None:
    if scratch.is_dir():
        shutil.rmtree(scratch, ignore_errors=True)
    else:
        with suppress(OSError):
            scratch.unlink()


@contextmanager
def explained(target: Path, what: str = "output") -> Iterator[None]:
    """Failed writes of the block as UserErrors with a remedy; `what` is the setting that says where to."""
    try:
        yield
    except Exception as error:
        if explained := _explain(error, target, what):
            raise explained from error
        raise


def _explain(error: Exception, target: Path, what: str) -> UserError | None:
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
        f"cannot write {target}: {reason.format(what=what)}; then start the same command again; what is "
        "committed is kept"
    )


def _is_full(target: Path) -> bool:
    return shutil.disk_usage(_nearest_existing(target.parent)).free < 1 << 20


def _nearest_existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())
