"""One stage's folder: which of its files are there and whole, and what a rerun has to make again.

A stage is done when its `manifest.json` exists: it lists every file with size and sha256, the stage's facts,
and a fingerprint of all that the stage was made from. It is written last. A stage that works in parts keeps
the same list in `progress-K-of-N.json` while it goes, so a killed one loses at most the part in hand. Nothing
that varies between two equal runs (times, paths, process numbers) is in a manifest.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mstar import __version__
from mstar.errors import UserError
from mstar.records import from_json, to_json
from mstar.storage import Storage, write_text

log = logging.getLogger("mstar")


@dataclass(frozen=True, slots=True)
class FileEntry:
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a finished stage left: `files` by name, `facts` for people, `fingerprint` of what it was made
    from.
    """

    fingerprint: dict[str, Any]
    files: dict[str, FileEntry]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shard:
    """The `index`-th of `count` disjoint shares of a stage's parts, counted from 1."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        index, slash, count = text.partition("/")
        if not (slash and index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
            raise UserError(f"--shard is {text}; write K/N with 1 <= K <= N, such as 2/8")
        return cls(int(index), int(count))

    def owns(self, part: int) -> bool:
        return part % self.count == self.index - 1


WHOLE = Shard()


class StageDir:
    """One stage's folder. Refuses to go on from files that were made from something else."""

    def __init__(
        self, storage: Storage, prefix: str, fingerprint: dict[str, Any], shard: Shard = WHOLE
    ) -> None:
        self.storage = storage
        self.prefix = prefix
        self.shard = shard
        self.fingerprint = json.loads(json.dumps({**fingerprint, "code": __version__}))
        self._recorded: dict[str, FileEntry] = {}
        self._intact: set[str] = set()
        self._manifest = read_manifest(storage, prefix)
        if self._manifest:
            self._take_over(self._manifest)
        if not self.done:
            self._read_progress()

    @property
    def done(self) -> bool:
        """True when the manifest is there and every file that it lists is as it was."""
        return self._manifest is not None and set(self._manifest.files) <= self._intact

    def missing(self, names: Iterable[str]) -> list[str]:
        """Of these files, the ones that this shard still has to write."""
        return [
            name for number, name in enumerate(names) if self.shard.owns(number) and name not in self._intact
        ]

    def unfinished(self, names: Iterable[str]) -> bool:
        """True while some of these files are missing, whichever shard they belong to."""
        self._read_progress()
        return not set(names) <= self._intact

    def has(self, name: str) -> bool:
        """True when this file, or every recorded file of this folder, is there as it was written."""
        files = {key for key in self._recorded if key == name or key.startswith(f"{name}/")}
        return bool(files) and files <= self._intact

    @contextmanager
    def write(self, name: str) -> Iterator[Path]:
        """A path for one file or folder of the stage; recorded as part of it when the block ends well."""
        with self.storage.write(f"{self.prefix}/{name}") as path:
            yield path
            entries = _describe_all(path, name)
        self._recorded.update(entries)
        self._intact.update(entries)

    @contextmanager
    def write_part(self, name: str) -> Iterator[Path]:
        """Like `write`, and also noted at once, so that a later start does not make it again."""
        with self.write(name) as path:
            yield path
        own = {key: entry for key, entry in self._recorded.items() if key in self._intact}
        progress = Manifest(self.fingerprint, own)
        write_text(
            self.storage,
            f"{self.prefix}/progress-{self.shard.index}-of-{self.shard.count}.json",
            to_json(progress),
        )

    def commit(self, facts: Callable[[], dict[str, Any]], expected: Iterable[str] | None = None) -> bool:
        """Write the manifest, and say so; False while other shards still owe some of the `expected` parts."""
        names = sorted(self._intact if expected is None else expected)
        if self.unfinished(names):
            return False
        files = {name: self._recorded[name] for name in names}
        write_text(
            self.storage, f"{self.prefix}/manifest.json", to_json(Manifest(self.fingerprint, files, facts()))
        )
        return True

    def path(self, name: str) -> Path:
        """A local path of one of the stage's files."""
        return self.storage.read(f"{self.prefix}/{name}")

    def _read_progress(self) -> None:
        for key in self.storage.keys(f"{self.prefix}/progress-"):
            progress = _read(self.storage, key)
            if progress:
                self._take_over(progress)

    def _take_over(self, manifest: Manifest) -> None:
        """Count the files that another start or another shard has made, as far as they are whole."""
        self._refuse_other(manifest.fingerprint)
        for name, entry in manifest.files.items():
            if name not in self._intact:
                self._recorded[name] = entry
                if self._is_intact(name):
                    self._intact.add(name)

    def _is_intact(self, name: str) -> bool:
        """Compare a recorded file with what is there; a difference is named, and the file made again."""
        try:
            found = describe(self.storage.read(f"{self.prefix}/{name}"))
        except FileNotFoundError:
            log.warning("%s/%s is gone; it will be made again", self.prefix, name)
            return False
        recorded = self._recorded[name]
        if found != recorded:
            what = (
                f"size {found.size}, was {recorded.size}" if found.size != recorded.size else "sha256 differs"
            )
            log.warning("%s/%s is damaged (%s); it will be made again", self.prefix, name, what)
        return found == recorded

    def _refuse_other(self, made_from: dict[str, Any]) -> None:
        for key, old, new in differences(made_from, self.fingerprint):
            raise UserError(
                f"{self.prefix} was made with {key} = {old}, now it is {new}; "
                f"put it back, choose another output, or delete that folder and the iterations after it"
            )


def read_manifest(storage: Storage, prefix: str) -> Manifest | None:
    """What a finished stage left, or None."""
    return _read(storage, f"{prefix}/manifest.json")


def _read(storage: Storage, key: str) -> Manifest | None:
    try:
        return from_json(Manifest, storage.read(key).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        log.warning("%s is damaged; what it lists will be checked and made again", key)
        return None


def _describe_all(path: Path, name: str) -> dict[str, FileEntry]:
    """A file's entry, or one for every file in a folder."""
    if not path.is_dir():
        return {name: describe(path)}
    inner = sorted(file for file in path.rglob("*") if file.is_file())
    return {f"{name}/{file.relative_to(path).as_posix()}": describe(file) for file in inner}


def describe(path: Path) -> FileEntry:
    """Size and sha256 of a file."""
    with path.open("rb") as file:
        return FileEntry(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def differences(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two trees of plain values differ: (dotted key, old, new)."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            yield from differences(old.get(name), new.get(name), f"{key}.{name}" if key else str(name))
    elif old != new:
        yield key, old, new
