"""Small files of a bucket that will soon be asked for, read at the same time.

One request after the other costs a whole way there and back each. So who goes through many folders says which
ones come next (`Storage.expect`); each is listed, and its small files are read, while earlier ones are worked
on. What is known so holds as long as the folder is expected and nothing is written or removed in it here.
"""

from collections.abc import Callable, Collection, Sequence, Set
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from mstar.errors import UserError

AT_ONCE = 16
"""Folders that are looked into at the same time."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A folder as it was: keys with their bytes, and the contents of the files that were wanted."""

    sizes: dict[str, int]
    texts: dict[str, bytes]


class Ahead:
    """What is being read ahead; `sizes` lists a prefix and `read` reads a small file, as a storage does."""

    def __init__(self, sizes: Callable[[str], dict[str, int]], read: Callable[[str], bytes]) -> None:
        self._ask_sizes = sizes
        self._ask_read = read
        self._folders: dict[str, Future[Seen]] = {}

    def expect(self, folders: Sequence[str], names: Collection[str]) -> None:
        """Look into these folders, and read the files of these names in them and right below."""
        self._drop(self._folders.keys() - set(folders))
        new = {
            folder: self._pool.submit(self._look, folder, names)
            for folder in folders
            if folder not in self._folders
        }
        self._folders = self._folders | new

    def sizes(self, prefix: str) -> dict[str, int] | None:
        """Keys and bytes that begin so; None where the folder was not expected."""
        seen = self._seen(prefix)
        return {key: seen.sizes[key] for key in seen.sizes if key.startswith(prefix)} if seen else None

    def read(self, key: str) -> bytes | None:
        """The bytes of a file; None where they are not known, FileNotFoundError where it was not there."""
        seen = self._seen(key)
        if seen is not None and key not in seen.sizes:
            raise FileNotFoundError(key)
        return seen.texts.get(key) if seen else None

    def forget(self, key: str) -> None:
        """Something is written or removed at this key, or below it."""
        self._drop(
            {
                folder
                for folder in self._folders
                if f"{key}/".startswith(f"{folder}/") or folder.startswith(f"{key}/")
            }
        )

    def _drop(self, folders: Set[str]) -> None:
        """Another thread may be looking for its folder: so what it looks through does not change."""
        dropped = [self._folders[folder] for folder in folders]
        self._folders = {name: found for name, found in self._folders.items() if name not in folders}
        for found in dropped:
            found.cancel()

    def _seen(self, key: str) -> Seen | None:
        """What is known of the folder that a key is in. Where looking failed, whoever asks is told why."""
        folders = self._folders
        with suppress(StopIteration, CancelledError, UserError, OSError):
            return next(folders[folder] for folder in folders if key.startswith(f"{folder}/")).result()
        return None

    def _look(self, folder: str, names: Collection[str]) -> Seen:
        sizes, texts = self._ask_sizes(f"{folder}/"), dict[str, bytes]()
        for key in sizes:
            place = key.removeprefix(f"{folder}/").split("/")
            if len(place) <= 2 and place[-1] in names:
                with suppress(UserError, OSError):
                    texts[key] = self._ask_read(key)
        return Seen(sizes, texts)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(AT_ONCE, "read ahead")
