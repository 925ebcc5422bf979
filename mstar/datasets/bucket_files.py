"""Problems in a bucket: `s3://bucket/key`, an object or a folder.

JSON and small files are fetched once into the cache of this machine, and their hash is that of the file on
disk. A larger Parquet file is read by ranges, and is known by the sha256 among its metadata, which mstar
writes, or else by its ETag and size: for its own hash all of it would have to be fetched. Images beside a
file are in bucket_images.py.
"""

import fnmatch
import hashlib
import io
import posixpath
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import cached_property, partial
from pathlib import Path, PurePosixPath

from mstar.config_storage import StorageSettings
from mstar.datasets.files import DataFile, FileStamp, Folder, is_shown
from mstar.errors import UserError
from mstar.storage.ranged import Blocks, RangedFile
from mstar.storage.s3_inputs import InputBucket, split_address

WHOLE_BYTES = 1 << 24
"""Up to this size every file is fetched whole; larger Parquet files are read by ranges."""


class BucketFile:
    """See DataFile; it is what it was when it was opened."""

    def __init__(self, bucket: InputBucket, key: str) -> None:
        """FileNotFoundError where there is none."""
        self._bucket = bucket
        self._key = key
        self._found = bucket.look_at(key)

    def __str__(self) -> str:
        return self._bucket.url(self._key)

    @property
    def name(self) -> PurePosixPath:
        return PurePosixPath(posixpath.basename(self._key))

    @property
    def place(self) -> str:
        return str(self)

    def stamp(self) -> FileStamp:
        return self._found.size, self._found.etag

    def is_settled(self, stamp: FileStamp, now_ns: int) -> bool:
        return True

    def sha256(self) -> str:
        if self._is_ranged and self._found.sha256 is None:
            return hashlib.sha256(f"{self._found.etag} {self._found.size}".encode()).hexdigest()
        return self._bucket.sha256(self._key, self._found)

    def local(self) -> Path:
        if self._found.size > self._bucket.limit_bytes:
            raise UserError(
                f"{self} has {self._found.size / 2**30:.1f} GiB, for which storage.cache_gib has no room; "
                "raise that, or write it as Parquet, which is read by ranges"
            )
        return self._fetched[0]

    def seekable(self) -> Path | io.RawIOBase:
        return RangedFile(self._blocks) if self._is_ranged else self.local()

    def expect(self, ranges: Sequence[tuple[int, int]]) -> None:
        if self._is_ranged:
            self._blocks.prefetch(ranges)

    def image_folder(self, below: str) -> str:
        beside = str(self).rpartition("/")[0]
        folder = posixpath.dirname(self._key)
        inner = f"{folder}/{below}/" if folder else f"{below}/"
        return f"{beside}/{below}" if below and self._bucket.entries(inner) else beside

    @property
    def _is_ranged(self) -> bool:
        return self.name.suffix.lower() == ".parquet" and self._found.size > WHOLE_BYTES

    @cached_property
    def _fetched(self) -> tuple[Path, ExitStack]:
        """The cache keeps the file as long as the stack lives, which ends with this object."""
        stack = ExitStack()
        return stack.enter_context(self._bucket.reading(self._key, self._found)), stack

    @cached_property
    def _blocks(self) -> Blocks:
        return Blocks(self._found.size, partial(self._bucket.read, self._key, self._found))


class BucketFolder:
    """See Folder."""

    def __init__(self, bucket: InputBucket, prefix: str) -> None:
        """`prefix` is empty or ends with a slash."""
        self._bucket = bucket
        self._prefix = prefix

    def __str__(self) -> str:
        return self._bucket.url(self._prefix).rstrip("/")

    @property
    def name(self) -> str:
        return posixpath.basename(str(self))

    def names(self) -> Sequence[str]:
        """What is below is looked at only where nothing here can be read: it may be images, and many."""
        top = self._bucket.entries(self._prefix)
        if any(PurePosixPath(name).suffix in (".parquet", ".arrow") for name in top):
            return sorted(top)
        states = [f"{name}/state.json" for name, entry in top.items() if entry is None and name != "data"]
        data = self._bucket.entries(f"{self._prefix}data/") if "data" in top else {}
        return sorted([*top, *filter(self._is_there, states), *(f"data/{name}" for name in data)])

    def _is_there(self, name: str) -> bool:
        try:
            self._bucket.look_at(self._prefix + name)
        except FileNotFoundError:
            return False
        return True

    def file(self, name: str) -> DataFile:
        return BucketFile(self._bucket, self._prefix + name)

    def below(self, name: str) -> Folder:
        return BucketFolder(self._bucket, f"{self._prefix}{name}/")


def find_address(address: str, settings: StorageSettings) -> Folder | list[DataFile] | None:
    """The folder or the object at `s3://bucket/key`, or those that a name with `*` stands for."""
    folder, name = split_address(address)
    bucket = InputBucket(folder, settings)
    if "*" in name:
        names = sorted(filter(is_shown, fnmatch.filter(bucket.entries(), name)))
        return [BucketFile(bucket, one) for one in names] or None
    if name and not address.endswith("/"):
        with suppress(FileNotFoundError):
            return [BucketFile(bucket, name)]
    prefix = f"{name}/" if name else ""
    return BucketFolder(bucket, prefix) if bucket.entries(prefix) else None
