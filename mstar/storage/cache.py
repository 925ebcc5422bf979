"""What was read from a bucket, kept on this machine for all its processes.

A file is named by its contents (`objects/5f/5f0c2a...`): it never changes, and whoever finds it may use it.
A reader holds a shared lock on it as long as it reads; whoever needs room deletes what nobody holds, least
recently used first. Of several processes that lack a file one fetches it, and the others wait for that one.
The kernel drops the locks of the dead; what they had in hand is deleted like every scratch file.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from io import BufferedReader
from pathlib import Path

from mstar.config_storage import StorageSettings
from mstar.content_hashes import cache_folder
from mstar.storage.folder import FolderStorage, explained, held_lock

SETTING = "storage.cache"
OBJECTS, FETCHING, HOLDS = "objects", "fetching", "holds"
SHARE_OF_ROOM = 16
"""One process uses a sixteenth of what is free before it looks again."""
SHARE_OF_ALL = 64
"""Where room is short, a sixty-fourth of the whole is made free besides."""


def open_cache(settings: StorageSettings) -> "Cache":
    """The cache of this machine."""
    folder = Path(settings.cache).expanduser() if settings.cache else cache_folder() / "s3"
    return Cache(folder.absolute(), int(settings.cache_gib * 2**30))


def place_copy(path: Path, place: Path) -> None:
    """Put a kept file somewhere else too; a link where that is possible."""
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, place)
    except OSError:
        shutil.copyfile(path, place)


class Cache:
    """A folder of files by their contents; more than `limit_bytes` only where more is in use."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._sure_bytes = 0
        """Room that this process may use before it looks again."""
        self._local = FolderStorage(folder, SETTING)

    def scratch(self) -> AbstractContextManager[Path]:
        """A path to make something at, as every storage has it."""
        return self._local.scratch()

    def hold_run(self, name: str, run: str) -> AbstractContextManager[None]:
        """The lock of the one loop on this machine that works on a run."""
        return held_lock(self._folder / HOLDS / name, run)

    @contextmanager
    def reading(self, name: str, size: int, fetch: Callable[[Path], None]) -> Iterator[Path]:
        """The file of this name, kept as long as the block lasts; `fetch` writes it if it is not there."""
        with self._obtain(name, size, fetch):
            yield self._place(name)

    def keep(self, path: Path, name: str) -> None:
        """Take over a scratch file that is stored now: a later stage will read it."""
        size = path.stat().st_size
        if size > self._limit_bytes:
            return
        self._make_room(size)
        self._admit(path, name)

    def _obtain(self, name: str, size: int, fetch: Callable[[Path], None]) -> BufferedReader:
        while True:
            if held := self._hold(name):
                return held
            with self._fetching(name):
                if held := self._hold(name):
                    return held
                self._make_room(size)
                with self.scratch() as part:
                    fetch(part)
                    self._admit(part, name)

    def _hold(self, name: str) -> BufferedReader | None:
        """The file, locked against deletion; None where it is not there, or was deleted a moment ago."""
        place = self._place(name)
        try:
            with explained(place, SETTING):
                file = place.open("rb")
        except FileNotFoundError:
            return None
        fcntl.flock(file, fcntl.LOCK_SH)
        with suppress(OSError):
            if os.path.samestat(os.fstat(file.fileno()), place.stat()):
                with suppress(PermissionError):  # of another user's: it goes by when it came
                    os.utime(place)
                return file
        file.close()
        return None

    @contextmanager
    def _fetching(self, name: str) -> Iterator[None]:
        """One at a time; the locks are shared by names that begin alike, so that they stay few."""
        place = self._folder / FETCHING / name[:2]
        with explained(place, SETTING):
            place.parent.mkdir(parents=True, exist_ok=True)
            lock = place.open("w")
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _admit(self, path: Path, name: str) -> None:
        """A link does not touch a file that is there already: somebody may hold it."""
        place = self._place(name)
        with explained(place, SETTING):
            place.parent.mkdir(parents=True, exist_ok=True)
            path.chmod(0o444)
            with suppress(FileExistsError):
                os.link(path, place)

    def _make_room(self, size: int) -> None:
        """Delete what was used least recently and is not in use, until there is room for so many bytes.

        To look at all that is there takes long where files are small and many, so it is not done for each:
        where some has to go, a little more goes; and of what is free this process uses only a share before it
        looks again, as others use it too.
        """
        if size <= self._sure_bytes:
            self._sure_bytes -= size
            return
        found: list[tuple[float, int, str]] = []
        for folder, _, names in os.walk(self._folder / OBJECTS):
            for name in names:
                with suppress(FileNotFoundError):
                    at = os.stat(os.path.join(folder, name))
                    found.append((at.st_mtime, at.st_size, name))
        excess = sum(bytes_ for _, bytes_, _ in found) + size - self._limit_bytes
        self._sure_bytes = max(0, -excess) // SHARE_OF_ROOM
        more = self._limit_bytes // SHARE_OF_ALL if excess > 0 else 0
        for _, bytes_, name in sorted(found):
            if excess <= 0 and bytes_ - excess > more:
                return
            if self._delete_unused(name):
                excess -= bytes_

    def _delete_unused(self, name: str) -> bool:
        place = self._place(name)
        try:
            with place.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                place.unlink()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def _place(self, name: str) -> Path:
        return self._folder / OBJECTS / name[:2] / name
