"""Small files of a bucket that will soon be asked for, read at the same time.

One request after the other costs a whole way there and back each. So who goes through many folders says which
ones come next (`Storage.expect`); each is listed, and its small files are read, while earlier ones are worked
on. What is known so holds as long as the folder is expected and nothing is written or removed in it here.

What was read stays in the cache of this machine, a folder's files together, under the ETags that a listing
says: the next command only lists.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Sequence, Set
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from mstar.errors import UserError
from mstar.storage.cache import Cache
from mstar.storage.s3_bucket import Bucket

AT_ONCE = 16
"""Folders that are looked into at the same time."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A folder as it was: keys with their bytes, and the contents of the files that were wanted."""

    sizes: dict[str, int]
    texts: dict[str, bytes]


class Ahead:
    """What is being read ahead; `read` reads a small file and compares it with its hash."""

    def __init__(self, bucket: Bucket, cache: Cache, read: Callable[[str], bytes]) -> None:
        self._bucket = bucket
        self._cache = cache
        self._read = read
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
        listed = self._bucket.listed(f"{folder}/")
        places = {key: key.removeprefix(f"{folder}/").split("/") for key in listed}
        wanted = sorted(key for key, place in places.items() if len(place) <= 2 and place[-1] in names)
        sizes = {key: size for key, (size, _) in listed.items()}
        if not wanted:
            return Seen(sizes, {})
        states = [f"{self._bucket.url(key)} {listed[key][1]}" for key in wanted]
        name = hashlib.sha256("\n".join(states).encode()).hexdigest()
        with suppress(UserError, OSError):  # whoever asks for the file is told why
            fetch = partial(self._fetch, wanted)
            with self._cache.reading(name, sum(sizes[key] for key in wanted), fetch) as path:
                texts = json.loads(path.read_bytes())
            return Seen(sizes, {key: text.encode("latin-1") for key, text in texts.items()})
        return Seen(sizes, {})

    def _fetch(self, keys: Sequence[str], path: Path) -> None:
        """Bytes as text of as many letters, whatever they are."""
        path.write_text(json.dumps({key: self._read(key).decode("latin-1") for key in keys}))

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(AT_ONCE, "read ahead")
