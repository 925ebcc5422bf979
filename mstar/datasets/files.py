"""A file of problems, and the folder around it, wherever they lie: what readers and the index ask of them.

Here are those on disk; those in a bucket are in bucket_files.py.
"""

import errno
import io
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from mstar.config import Config
from mstar.config_storage import StorageSettings
from mstar.content_hashes import Stamp, is_settled, remembered_sha256, stamp_of
from mstar.datasets.rows import BadRow, Row
from mstar.errors import UserError


@dataclass(frozen=True, slots=True)
class Reading:
    """How problem files are read: how buckets are reached, and the user's own names of columns."""

    storage: StorageSettings = StorageSettings()
    columns: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Config) -> "Reading":
        return cls(config.storage, {str(key): name for key, name in config.data.columns.items()})


def is_shown(name: str | Path) -> bool:
    """Whether it is no hidden file: a copy made on a Mac has `._part-0.parquet` beside `part-0.parquet`."""
    return not PurePosixPath(name).name.startswith(".")


class NotThere(UserError):
    """Nothing lies at a path or an address."""


FileStamp = tuple[int | str, ...]
"""Another one where the contents are others."""


class DataFile(Protocol):
    """One file. As text it is its path or its address."""

    @property
    def name(self) -> PurePosixPath:
        """Of the file in its folder."""

    @property
    def place(self) -> str:
        """The same for every way to name it."""

    def stamp(self) -> FileStamp:
        """OSError where it is gone."""

    def is_settled(self, stamp: FileStamp, now_ns: int) -> bool:
        """Whether a stamp stands for its contents."""

    def sha256(self) -> str:
        """Of its contents; of a large file in a bucket, what stands for that (see bucket_files.py)."""

    def local(self) -> Path:
        """A path with its contents, for as long as this object lives."""

    def seekable(self) -> Path | io.RawIOBase:
        """What pyarrow can read parts of."""

    def expect(self, ranges: Sequence[tuple[int, int]]) -> None:
        """What pyarrow will read soon, as (offset, length)."""

    def image_folder(self, below: str) -> str:
        """Where image paths begin: at the folder `below` beside it where there is one, else beside it."""


class Folder(Protocol):
    """Files that belong together. As text it is its path or its address."""

    @property
    def name(self) -> str: ...

    def names(self) -> Sequence[str]:
        """What is in it, sorted, and which `*/state.json` and `data/*.parquet` are below."""

    def file(self, name: str) -> DataFile:
        """One of them; FileNotFoundError where it is gone."""

    def below(self, name: str) -> "Folder": ...


@dataclass(frozen=True, slots=True)
class LocalFile:
    """See DataFile."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> PurePosixPath:
        return PurePosixPath(self.path.name)

    @property
    def place(self) -> str:
        return os.path.abspath(self.path)

    def stamp(self) -> FileStamp:
        return stamp_of(self.path)

    def is_settled(self, stamp: FileStamp, now_ns: int) -> bool:
        assert isinstance(stamp, Stamp)
        return is_settled(stamp, now_ns)

    def sha256(self) -> str:
        return remembered_sha256(self.path)

    def local(self) -> Path:
        return self.path

    def seekable(self) -> Path | io.RawIOBase:
        return self.path

    def expect(self, ranges: Sequence[tuple[int, int]]) -> None:
        """The system reads ahead."""

    def image_folder(self, below: str) -> str:
        beside = self.path.parent.absolute()
        deeper = beside / below
        return str(deeper if deeper.is_dir() else beside)


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """See Folder."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        return self.path.resolve().name

    def names(self) -> Sequence[str]:
        inner = [*self.path.iterdir(), *self.path.glob("*/state.json"), *self.path.glob("data/*.parquet")]
        return sorted(path.relative_to(self.path).as_posix() for path in inner)

    def file(self, name: str) -> DataFile:
        path = self.path / name
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return LocalFile(path)

    def below(self, name: str) -> Folder:
        return LocalFolder(self.path / name)


class Part(Protocol):
    """One file of rows. What cannot be read comes as a BadRow, so that it does not hide the next row."""

    file: DataFile
    unknown_columns: tuple[str, ...]
    images_embedded: bool
    """Whether it is known, without looking, that no image is a path."""

    def __len__(self) -> int: ...

    def rows(self, indices: Iterable[int], images: bool = True) -> Iterator[Row | BadRow]: ...

    def labels(self, columns: Collection[str]) -> Iterator[Row | BadRow]: ...
