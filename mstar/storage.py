"""Where the files of a run live, behind three methods, so that a folder and a bucket look the same to the
stages.

A key is a path relative to the run, with forward slashes; it names a file, or a folder such as a checkpoint.
`write` is the only way in, and a file appears whole or not at all. Only the folder kind is here; a bucket
adds a class and a case in `build_storage`.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from mstar.errors import UserError

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


class Storage(Protocol):
    def read(self, key: str) -> Path:
        """A local path with the contents of `key`, a file or a folder; FileNotFoundError if there is none."""

    def write(self, key: str) -> AbstractContextManager[Path]:
        """A local path where the block creates a file or a folder: becomes `key` if the block ends well, else
        vanishes.
        """

    def keys(self, prefix: str) -> list[str]:
        """The keys of all files that begin with `prefix`, sorted."""


def build_storage(output: str) -> Storage:
    """The storage that `output` names."""
    if "://" in output:
        raise UserError(f"output is {output}; this version writes to folders only; name a folder")
    return FolderStorage(Path(output))


def write_text(storage: Storage, key: str, text: str) -> None:
    """Write a small text file."""
    with storage.write(key) as path:
        path.write_text(text, encoding="utf-8")


class FolderStorage:
    """Files below one folder. What is written stands beside its place first, is flushed to disk, then
    renamed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, key: str) -> Path:
        path = self.root / key
        if not path.exists():
            raise FileNotFoundError(str(path))
        return path

    @contextmanager
    def write(self, key: str) -> Iterator[Path]:
        target = self.root / key
        scratch = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _discard_leftovers(target, scratch)
            yield scratch
            _flush(scratch)
            if target.is_dir():
                shutil.rmtree(target)
            os.replace(scratch, target)
            _flush_entry(target.parent)
        except Exception as error:
            if explained := _explain(error, target):
                raise explained from error
            raise
        finally:
            _discard(scratch)

    def keys(self, prefix: str) -> list[str]:
        start = self.root / prefix.rpartition("/")[0]
        found = (path.relative_to(self.root) for path in start.rglob("*") if path.is_file())
        visible = (path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))
        return sorted(key for key in visible if key.startswith(prefix))


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


def _discard_leftovers(target: Path, scratch: Path) -> None:
    """What killed writes have left: this process number's, and folders (checkpoints), which are large."""
    _discard(scratch)
    for leftover in target.parent.glob(f".{target.name}.*.part"):
        if leftover.is_dir():
            _discard(leftover)


def _discard(scratch: Path) -> None:
    if scratch.is_dir():
        shutil.rmtree(scratch, ignore_errors=True)
    else:
        with suppress(OSError):
            scratch.unlink()


def _explain(error: Exception, target: Path) -> UserError | None:
    """The user's side of a failed write.

    Libraries wrap the system's error in their own, so its number is also looked for in the message, and a
    full disk is measured.
    """
    if isinstance(error, UserError):
        return None
    named = re.search(r"(?:os error|errno) (\d+)", str(error), re.IGNORECASE)
    number = error.errno if isinstance(error, OSError) else int(named[1]) if named else None
    reason = REMEDIES.get(number or 0)
    if reason is None and _is_full(target):
        reason = REMEDIES[errno.ENOSPC]
    if reason is None:
        return None
    return UserError(
        f"cannot write {target}: {reason}; then start the same command again; what is committed is kept"
    )


def _is_full(target: Path) -> bool:
    existing = next(folder for folder in target.absolute().parents if folder.exists())
    return shutil.disk_usage(existing).free < 1 << 20
