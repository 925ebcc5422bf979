"""Where the files of a run live, so that a folder and a bucket look the same to the stages.

A key is a path relative to the run, with forward slashes; it names a file, or a folder such as a checkpoint.
Things are made in `scratch`, where nobody looks, and appear whole by `publish`. What counts is written once,
under a name of its own, and a small file says which one counts (see stagedir.py); only views and notes
(report.html, timing.json) are replaced. So any number of processes may work on one run, on a folder
(folder.py) and in a bucket (s3.py).
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from mstar.config_storage import StorageSettings
from mstar.content_hashes import remembered_sha256
from mstar.errors import UserError


@dataclass(frozen=True, slots=True)
class FileEntry:
    """What is known of a stored file without its bytes."""

    size: int
    sha256: str


class Storage(Protocol):
    def scratch(self) -> AbstractContextManager[Path]:
        """A local path where the block may make a file or a folder; what stays there goes with the block."""

    def publish(self, path: Path, key: str, replace: bool = False, durable: bool = True) -> bool:
        """Move a file or a folder to `key`, where it appears whole or not at all. (In a bucket the files of a
        folder appear one by one: a small file beside it has to say that it counts.)

        False, and nothing is changed, where something has that key already; unless it is to be replaced.
        What is not `durable` may be lost or cut when the machine loses its power: views and notes, and files
        that are settled later.
        """

    def settle(self, keys: Iterable[str]) -> None:
        """Make published files outlive a loss of power; those that are gone meanwhile are left alone."""

    def reading(self, key: str, sha256: str | None = None) -> AbstractContextManager[Path]:
        """A local path with the contents of `key`, a file or a folder, as long as the block lasts; it is only
        to be read. FileNotFoundError if there is none. What travels is hashed on the way; WrongBytes where it
        is not what was written, or not a file with this `sha256`.
        """

    def read(self, key: str) -> bytes:
        """The same for a small file, at once."""

    def expect(self, folders: Sequence[str], names: Collection[str]) -> None:
        """These folders, and no others any more, will be listed soon, and the files of these names in them
        and right below be read. Where that takes long it may be done ahead: what is then told of them may be
        older than the question, but not older than this.
        """

    def describe(self, key: str) -> FileEntry:
        """Size and sha256 of a file; FileNotFoundError if there is none."""

    def known_sha256(self, key: str) -> str | None:
        """That of a file where telling it costs no request of its own; None elsewhere, or if it is gone."""

    def keys(self, prefix: str) -> list[str]:
        """The keys of all files that begin with `prefix`, sorted."""

    def sizes(self, prefix: str) -> dict[str, int]:
        """The same with the size of each in bytes."""

    def blocks(self, key: str) -> Iterator[bytes]:
        """The bytes of a file as they are stored now, whatever is remembered or cached of it, a few MiB at a
        time; FileNotFoundError if there is none.
        """

    def abandoned(self) -> dict[str, int]:
        """Keys and bytes of what killed processes have left in scratch, where it is this run's own."""

    def remove(self, key: str) -> None:
        """Delete a file or a folder, if it is there."""

    def hold(self) -> AbstractContextManager[None]:
        """Keep a second loop from doing all the work once more, as long as the block lasts; UserError if one
        is at work. Nothing relies on it: stages bear any number of writers.
        """

    def free_bytes(self) -> int | None:
        """Room that is left; None where there is no limit that one could ask for."""


def build_storage(output: str, settings: StorageSettings | None = None) -> Storage:
    """The storage that `output` names; UserError where there cannot be one. Nothing is asked of a server."""
    scheme, separator, _ = output.partition("://")
    match scheme if separator else None:
        case None:
            from mstar.storage.folder import open_folder

            return open_folder(output)
        case "s3":
            try:
                from mstar.storage.s3 import open_bucket
            except ModuleNotFoundError:
                raise UserError(
                    f"output is {output}, which needs a client: pip install 'mstar[s3]'"
                ) from None

            return open_bucket(output, settings or StorageSettings())
        case _:
            raise UserError(f"output is {output}; a run lies in a folder or at s3://bucket/prefix")


def read_text(storage: Storage, key: str) -> str:
    """A small text file; FileNotFoundError if there is none."""
    return storage.read(key).decode()


def write_text(storage: Storage, key: str, text: str, replace: bool = True, durable: bool = True) -> bool:
    """Write a small text file; False where it is there already and not to be replaced."""
    with storage.scratch() as path:
        path.write_text(text, encoding="utf-8")
        return storage.publish(path, key, replace, durable)


def describe(path: Path) -> FileEntry:
    """Size and sha256 of a local file."""
    return FileEntry(path.stat().st_size, remembered_sha256(path))


def checked_key(key: str) -> str:
    """The key; one that leads out of the run is a mistake of ours."""
    parts = PurePosixPath(key).parts
    if not parts or key.startswith("/") or ".." in parts or "\0" in key:
        raise ValueError(f"{key!r} is no key of a run: it must be a path below it")
    return key
