"""Objects that others wrote: what a run reads from buckets besides its own files.

An object is looked at once, and from then on it is what it was: an answer with another ETag is refused, so
that nobody reads half of the old contents and half of the new ones. Files are fetched once into the cache of
this machine (cache.py) and kept there by their contents; a large one that is read here and there gives
ranges (ranged.py).
"""

import hashlib
import posixpath
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

from urllib3.exceptions import ProtocolError
from urllib3.response import BaseHTTPResponse

from mstar.config_storage import StorageSettings
from mstar.content_hashes import HASHES, file_sha256, read_cached, write_cached
from mstar.errors import UserError
from mstar.storage.cache import open_cache, place_copy
from mstar.storage.s3_bucket import Bucket, Object
from mstar.storage.s3_client import parse_address, resolve
from mstar.storage.s3_parts import BLOCK_BYTES, WRONG_READS, Rest, Write, fetch_parts


class InputBucket:
    """The objects below one folder of a bucket; keys begin there."""

    def __init__(self, folder: str, settings: StorageSettings) -> None:
        """UserError where the folder's address, or the settings, cannot be right. Nothing is sent yet."""
        address = parse_address(folder)
        self.folder = str(address)
        self.limit_bytes = int(settings.cache_gib * 2**30)
        self._bucket = Bucket(address, resolve(settings))
        self._cache = open_cache(settings)

    def url(self, key: str) -> str:
        return f"{self.folder}/{key}"

    def look_at(self, key: str) -> Object:
        """FileNotFoundError where there is no such object."""
        return self._bucket.look_at(key)

    def entries(self, below: str = "") -> dict[str, Object | None]:
        """The names in a folder (`below` is empty or ends with a slash); None for one that is a folder."""
        return self._bucket.entries(below)

    def reading(self, key: str, found: Object) -> AbstractContextManager[Path]:
        """A local path with the contents, as long as the block lasts; fetched where it is not there yet."""
        fetch = partial(self._fetch, key, found)
        return self._cache.reading(found.sha256 or self._name(key, found), found.size, fetch)

    @contextmanager
    def reading_all(self, keys: Iterable[str]) -> Iterator[Path]:
        """A local folder with these objects, as long as the block lasts."""
        with self._cache.scratch() as folder, ExitStack() as held:
            for key in keys:
                place_copy(held.enter_context(self.reading(key, self.look_at(key))), folder / key)
            yield folder

    def read(self, key: str, found: Object, offset: int, length: int) -> bytes:
        """Some bytes of an object."""
        data = bytearray()

        def rest() -> tuple[int, int]:
            return offset + len(data), length - len(data)

        def write(response: BaseHTTPResponse) -> None:
            for block in response.stream(BLOCK_BYTES, decode_content=False):
                data.extend(block[: length - len(data)])
            if len(data) < length:
                raise ProtocolError(f"the answer ends {length - len(data)} bytes too early")

        self._read_unchanged(key, found, rest, write)
        return bytes(data)

    def sha256(self, key: str, found: Object) -> str:
        """The hash of the contents: from the metadata where mstar wrote it, else of what arrives, once."""
        if found.sha256:
            return found.sha256
        remembered = f"{HASHES}/{self._name(key, found)}"
        if known := read_cached(remembered):
            return known.decode()
        with self.reading(key, found) as path:
            sha256 = file_sha256(path)
        write_cached(remembered, sha256.encode())
        return sha256

    def _name(self, key: str, found: Object) -> str:
        """What tells this state of the object from every other."""
        return hashlib.sha256(f"{self.url(key)} {found.etag} {found.size}".encode()).hexdigest()

    def _fetch(self, key: str, found: Object, path: Path) -> None:
        """Fetch it again where its bytes have changed on their way."""
        read: Callable[[Rest, Write], None] = partial(self._read_unchanged, key, found)
        for _ in range(WRONG_READS):
            sha256 = fetch_parts(path, found.size, self._bucket.settings.parts_in_flight, read)
            if found.sha256 in (None, sha256):
                return
        raise UserError(
            f"{self.url(key)} is not what the sha256 among its metadata says ({WRONG_READS} times); look at "
            "the network, or upload it again"
        )

    def _read_unchanged(self, key: str, found: Object, rest: Rest, write: Write) -> None:
        """Hand on the answers that still are about the object that was looked at."""

        def checked(response: BaseHTTPResponse) -> None:
            if response.headers.get("etag", "").strip('"') != found.etag:
                raise UserError(
                    f"{self.url(key)} was replaced while it was read; start again, and write other contents "
                    "under a name of their own"
                )
            write(response)

        try:
            self._bucket.get_range(key, rest, checked)
        except FileNotFoundError:
            raise UserError(f"{self.url(key)} was deleted while it was read; put it back") from None


def split_address(address: str) -> tuple[str, str]:
    """The address of the folder that an object is in, and its name there: empty for a whole bucket."""
    bucket, _, key = address.removeprefix("s3://").partition("/")
    folder, name = posixpath.split(posixpath.normpath(key) if key else "")
    return f"s3://{bucket}/{folder}".rstrip("/"), name
