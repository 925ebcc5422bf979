"""Images in zip files, as large sets are published: read out of them, without unpacking.

They are looked for when the first image is not where its row says: nothing is fetched that nobody needs.
"""

import zipfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Lock

from mstar.datasets.images import UnreadableImage
from mstar.errors import UserError


class ImageArchives:
    """The zip files of one set; threads may share it."""

    def __init__(self, find: Callable[[], Sequence[Path]]) -> None:
        self._find = find
        self._lock = Lock()
        self._opened: list[tuple[zipfile.ZipFile, frozenset[str]]] | None = None
        self._stack = ExitStack()

    def close(self) -> None:
        self._stack.close()

    def read(self, path: str) -> bytes | None:
        """The member with this path, or with it in a folder of the zip file's own name; None if there is
        none, UnreadableImage if it is damaged.
        """
        for archive, members in self._archives():
            for name in (path, f"{Path(str(archive.filename)).stem}/{path}"):
                if name in members:
                    return read_member(archive, name)
        return None

    def _archives(self) -> list[tuple[zipfile.ZipFile, frozenset[str]]]:
        with self._lock:
            if self._opened is None:
                archives = [self._stack.enter_context(open_archive(path)) for path in self._find()]
                self._opened = [(archive, frozenset(archive.namelist())) for archive in archives]
        return self._opened


def open_archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise UserError(f"{path} is no whole zip file ({error}); download it again") from error


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError) as error:
        raise UnreadableImage(f"cannot be read from {archive.filename} ({error})") from error
