"""A run in a bucket: `s3://bucket/prefix`.

Every file is one object, so it appears whole or not at all; its sha256 is among its metadata, and what is
read is compared with it. What must be written only once is written on the condition that nothing is there.
Files are made, and those that were read are kept, in a folder of this machine (cache.py). The files of a
folder appear one by one: nobody reads a checkpoint before the small file beside it says that it counts.
"""

import errno
import hashlib
import mimetypes
import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

from mstar.config_storage import StorageSettings
from mstar.errors import WrongBytes
from mstar.storage import FileEntry, checked_key, describe
from mstar.storage.cache import open_cache, place_copy
from mstar.storage.s3_ahead import Ahead
from mstar.storage.s3_bucket import Bucket, Object, Upload
from mstar.storage.s3_client import parse_address, resolve
from mstar.storage.s3_parts import WRONG_READS, fetch_parts

SMALL_BYTES = 1 << 16
"""Files up to this size are read in one request, and not kept: asking about them takes as long."""
PIECE_BYTES = 8 << 20
"""What `blocks` asks for at once."""
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".parquet": "application/vnd.apache.parquet",
    ".yaml": "application/yaml",
}


def open_bucket(output: str, settings: StorageSettings) -> "BucketStorage":
    """The storage of a run in a bucket; UserError where the address cannot be one."""
    return BucketStorage(Bucket(parse_address(output), resolve(settings)))


class BucketStorage:
    """Objects below one prefix of a bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._cache = open_cache(bucket.settings)
        self._ahead = Ahead(bucket, self._cache, self._read_small)

    def scratch(self) -> AbstractContextManager[Path]:
        return self._cache.scratch()

    def publish(self, path: Path, key: str, replace: bool = False, durable: bool = True) -> bool:
        publish = self._publish_folder if path.is_dir() else self._publish_file
        self._ahead.forget(checked_key(key))
        return publish(path, key, replace)

    def settle(self, keys: Iterable[str]) -> None:
        """A server has what it has confirmed."""

    @contextmanager
    def reading(self, key: str, sha256: str | None = None) -> Iterator[Path]:
        with ExitStack() as stack:
            try:
                path = stack.enter_context(self._reading_file(checked_key(key), sha256))
            except FileNotFoundError:
                path = stack.enter_context(self._reading_folder(key))
            yield path

    def read(self, key: str) -> bytes:
        known = self._ahead.read(checked_key(key))
        return self._read_small(key) if known is None else known

    def expect(self, folders: Sequence[str], names: Collection[str]) -> None:
        self._ahead.expect(folders, names)

    def describe(self, key: str) -> FileEntry:
        """From the metadata; an object that was brought here without any is read for its hash."""
        found = self._bucket.look_at(checked_key(key))
        if found.sha256:
            return FileEntry(found.size, found.sha256)
        with self._reading_file(key) as path:
            return describe(path)

    def known_sha256(self, key: str) -> str | None:
        """It is compared when the file is read: names are written once, and carry their contents' hash."""
        return None

    def keys(self, prefix: str) -> list[str]:
        return sorted(self.sizes(prefix))

    def sizes(self, prefix: str) -> dict[str, int]:
        known = self._ahead.sizes(prefix)
        found = (
            {key: size for key, (size, _) in self._bucket.listed(prefix).items()} if known is None else known
        )
        return {key: found[key] for key in found if not any(part.startswith(".") for part in key.split("/"))}

    def blocks(self, key: str) -> Iterator[bytes]:
        found, data = self._bucket.get(checked_key(key), PIECE_BYTES)
        if data is not None:
            yield data
            return
        for offset in range(0, found.size, PIECE_BYTES):
            yield self._bucket.get_block(key, offset, min(PIECE_BYTES, found.size - offset))

    def abandoned(self) -> dict[str, int]:
        """Scratch is in the cache, which many runs share and which cleans itself."""
        return {}

    def remove(self, key: str) -> None:
        """File by file; whoever removes a folder that counted has said first that it no longer does."""
        self._ahead.forget(checked_key(key))
        for found in (key, *self.keys(f"{key}/")):
            self._bucket.remove(found)

    def hold(self) -> AbstractContextManager[None]:
        """Keeps away the loops of this machine alone. A lease in the bucket would have to run out before a
        killed run could be taken up again, and it would prevent nothing that stages do not bear.
        """
        place = f"{self._bucket.settings.endpoint} {self._bucket.address}"
        name = hashlib.sha256(place.encode()).hexdigest()[:16]
        return self._cache.hold_run(name, str(self._bucket.address))

    def free_bytes(self) -> int | None:
        return None

    def _publish_file(self, path: Path, key: str, replace: bool) -> bool:
        entry = describe(path)
        if not replace and self._is_there(key):
            return False
        upload = Upload(path, _content_type(key), entry.sha256, secrets.token_hex(8))
        is_stored = self._bucket.put(upload, key, only_new=not replace)
        if is_stored and entry.size > SMALL_BYTES:
            self._cache.keep(path, entry.sha256)
        return is_stored

    def _publish_folder(self, path: Path, key: str, replace: bool) -> bool:
        """A folder that a killed process has left half is completed."""
        files = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
        present = {found.removeprefix(f"{key}/") for found in self.keys(f"{key}/")}
        if not replace and (present - files.keys() or present == files.keys()):
            return False
        for name in sorted(files):
            self._publish_file(files[name], f"{key}/{name}", replace)
        for name in sorted(present - files.keys()):
            self._bucket.remove(f"{key}/{name}")
        return True

    def _is_there(self, key: str) -> bool:
        try:
            self._bucket.look_at(key)
        except FileNotFoundError:
            return False
        return True

    def _read_small(self, key: str) -> bytes:
        """Without a local file, where it is as small as it should be."""
        for _ in range(WRONG_READS):
            found, data = self._bucket.get(key, SMALL_BYTES)
            if data is None:
                with self._reading_file(key) as path:
                    return path.read_bytes()
            if found.sha256 in (None, hashlib.sha256(data).hexdigest()):
                return data
        raise self._wrong_bytes(key)

    def _wrong_bytes(self, key: str) -> WrongBytes:
        return WrongBytes(
            f"{self._bucket.url(key)} does not arrive as it was written (its sha256 differs, {WRONG_READS} "
            "times); look at the network, or delete it there and start the same command again"
        )

    @contextmanager
    def _reading_file(self, key: str, sha256: str | None = None) -> Iterator[Path]:
        with ExitStack() as stack:
            for _ in range(WRONG_READS):
                if path := self._read(key, sha256, stack):
                    break
            else:
                raise self._wrong_bytes(key)
            yield path

    def _read(self, key: str, sha256: str | None, stack: ExitStack) -> Path | None:
        """A local path for as long as the stack lasts; None where other bytes arrive than were written."""
        found, data = self._bucket.get(key, SMALL_BYTES)
        found = Object(found.size, found.etag, sha256 or found.sha256, found.writer)
        if data is None:
            return self._read_large(key, found, stack)
        if found.sha256 not in (None, hashlib.sha256(data).hexdigest()):
            return None
        path = stack.enter_context(self.scratch())
        path.write_bytes(data)
        return path

    def _read_large(self, key: str, found: Object, stack: ExitStack) -> Path | None:
        read = partial(self._bucket.get_range, key)
        name = found.sha256 or hashlib.sha256(f"{self._bucket.url(key)} {found}".encode()).hexdigest()

        def fetch(path: Path) -> None:
            sha256 = fetch_parts(path, found.size, self._bucket.settings.parts_in_flight, read)
            if found.sha256 not in (None, sha256):
                raise _ArrivedWrong

        try:
            return stack.enter_context(self._cache.reading(name, found.size, fetch))
        except _ArrivedWrong:
            return None

    @contextmanager
    def _reading_folder(self, key: str) -> Iterator[Path]:
        inner = self.keys(f"{key}/")
        if not inner:
            raise FileNotFoundError(errno.ENOENT, "no such file in the run", self._bucket.url(key))
        with self.scratch() as folder, ExitStack() as held:
            for name in inner:
                path = held.enter_context(self._reading_file(name))
                place_copy(path, folder / name.removeprefix(f"{key}/"))
            yield folder


class _ArrivedWrong(Exception):
    """Other bytes arrived than were written."""


def _content_type(key: str) -> str:
    suffix = Path(key).suffix
    return CONTENT_TYPES.get(suffix) or mimetypes.guess_type(key)[0] or "application/octet-stream"
