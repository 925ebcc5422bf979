"""Images in zip files, as large sets are published: read out of them, without unpacking.

They are looked for when the first image is not where its row says: nothing is fetched that nobody needs.
"""

import zipfile
import zlib
from collections.abc import Callable, Sequence
from threading import Lock
from typing import NamedTuple

from mstar.datasets.files import DataFile
from mstar.datasets.images import UnreadableImage
from mstar.errors import UserError


class Archive(NamedTuple):
    """An open zip file; what it was read from stays where it is as long as that is known."""

    file: DataFile
    opened: zipfile.ZipFile
    members: frozenset[str]


class ImageArchives:
    """The zip files of one set; threads may share it."""

    def __init__(self, find: Callable[[], Sequence[DataFile]]) -> None:
        self._find = find
        self._lock = Lock()
        self._opened: list[Archive] | None = None

    def close(self) -> None:
        for archive in self._opened or ():
            archive.opened.close()

    def read(self, path: str) -> bytes | None:
        """The member with this path, or with it in a folder of the zip file's own name; None if there is
        none, UnreadableImage if it is damaged.
        """
        for archive in self._archives():
            for name in (path, f"{archive.file.name.stem}/{path}"):
                if name in archive.members:
                    return read_member(archive, name)
        return None

    def _archives(self) -> list[Archive]:
        with self._lock:
            if self._opened is None:
                self._opened = [open_archive(file) for file in self._find()]
        return self._opened


def open_archive(file: DataFile) -> Archive:
    try:
        opened = zipfile.ZipFile(file.local())
    except zipfile.BadZipFile as error:
        raise UserError(f"{file} is no whole zip file ({error}); download it again") from error
    return Archive(file, opened, frozenset(opened.namelist()))


def read_member(archive: Archive, name: str) -> bytes:
    try:
        return archive.opened.read(name)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError, zlib.error) as error:
        raise UnreadableImage(f"cannot be read from {archive.file} ({error})") from error
