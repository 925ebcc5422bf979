"""One stage's folder: which of its files are there and whole, and what a rerun has to make again.

A stage is done when its `manifest.json` is there and the files that it lists are as they were. It is written
last, with the stage's result and a fingerprint of all that the stage was made from.

Every file is written once: its name carries the beginning of its sha256 (`part-00003-5f0c2ab81d44.parquet`),
so that whoever finds it knows whether it is whole, and two writers never overwrite each other. Which files
count is said by the manifest alone; the first manifest wins, and what it does not name is deleted by its
writer. Nothing that varies between two equal runs (times, paths, process numbers) is in a manifest.
"""

import json
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mstar.errors import UserError
from mstar.fingerprints import Fingerprint, changed, may_change
from mstar.records import to_json
from mstar.storage import FileEntry, Storage, describe, write_text
from mstar.stored_names import CHECKPOINT, describe_folder, folder_sha256, plain_name, stored_name
from mstar.stored_records import read_if_whole

log = logging.getLogger("mstar")
MANIFEST, BEGUN, REMOVED, TIMING = "manifest.json", "begun.json", "removed.json", "timing.json"


@dataclass(frozen=True)
class Manifest:
    """What a finished stage left: `files` by name, and its `result` in plain values (see records.py)."""

    fingerprint: Fingerprint
    files: dict[str, FileEntry]
    result: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    """What version 0.1.0 called the result."""
    version: int = 1
    """Of the stage's rules: raised when the same inputs give other files."""


@dataclass(frozen=True, slots=True)
class Begun:
    """What an unfinished stage is made from."""

    fingerprint: Fingerprint
    version: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder that a stage in hand can go on from: `done` of its work, and the files in it."""

    done: int
    files: dict[str, FileEntry]


class StageDir:
    """One stage's folder. Refuses to go on from files that were made from something else."""

    def __init__(self, storage: Storage, prefix: str, made_from: Begun, found: Manifest | None = None):
        """`found` is its manifest, where that has just been read."""
        self.storage = storage
        self.prefix = prefix
        self.made_from = Begun(json.loads(json.dumps(made_from.fingerprint)), made_from.version)
        self.manifest = found or read_manifest(storage, prefix)
        if self.manifest:
            self._refuse_other(self.manifest.fingerprint, is_finished=True)
        self._entries: dict[str, FileEntry] = {}
        self._removed: dict[str, str] = {}
        self._sizes: dict[str, int] = {}
        self._stored = self._find_stored()
        if self.manifest and not self.done:
            self._refuse_other(self.manifest.fingerprint)

    @property
    def done(self) -> bool:
        """True when the manifest is there and every file that it lists is as it was, or gone on purpose."""
        return self.manifest is not None and all(
            plain_name(stored) in self._stored or stored.split("/")[0] in self._removed
            for stored in self.manifest.files
        )

    @property
    def is_half_deleted(self) -> bool:
        """The note that a stage has begun goes last: where it is left beside a manifest, a process was killed
        while it deleted.
        """
        return BEGUN in self._sizes

    def begin(self) -> None:
        """Note what the stage is made from; parts that another version's rules made do not count.

        Where nothing has been made yet, a note with other inputs (a model that did not load, say) gives way.
        """
        if self.manifest and self.manifest.version == self.made_from.version:
            return
        text = to_json(self.made_from)
        if not self.manifest:
            if write_text(self.storage, f"{self.prefix}/{BEGUN}", text, replace=False, durable=False):
                self._forget_without_note()
                return
            begun = read_if_whole(self.storage, f"{self.prefix}/{BEGUN}", Begun)
            if begun and begun.version == self.made_from.version:
                if has_left_something(self.storage, self.prefix):
                    self._refuse_other(begun.fingerprint)
                elif any(changed(begun.fingerprint, self.made_from.fingerprint)):
                    write_text(self.storage, f"{self.prefix}/{BEGUN}", text, durable=False)
                return
        self.manifest, self._stored = None, {}
        self.storage.remove(f"{self.prefix}/{MANIFEST}")
        self._delete_others(())
        write_text(self.storage, f"{self.prefix}/{BEGUN}", text, durable=False)

    def missing(self, names: Iterable[str]) -> list[str]:
        """Of these files, the ones that are not there as they were written, whoever wrote them."""
        self._stored = self._find_stored()
        return [name for name in names if name not in self._stored]

    @contextmanager
    def write(self, name: str) -> Iterator[Path]:
        """A path for one file of the stage, which has its place when the block ends well.

        A loss of power may take what the disk has not seen yet: until the stage is committed, a file is worth
        no wait for the disk.
        """
        with self.storage.scratch() as path:
            yield path
            self._refuse_other_begun()
            entry = describe(path)
            stored = stored_name(name, entry.sha256)
            replace = self.manifest is not None
            self.storage.publish(path, f"{self.prefix}/{stored}", replace, durable=False)
        self._stored[name], self._entries[stored] = stored, entry

    @contextmanager
    def write_checkpoint(self, done: int) -> Iterator[Path]:
        """A path for a folder that the stage can go on from; the small file beside it says that it counts.

        The two newest stay until the stage is finished: somebody may be reading the last but one.
        """
        with self.storage.scratch() as path:
            yield path
            self._refuse_other_begun()
            files = describe_folder(path)
            stored = stored_name(CHECKPOINT, folder_sha256(files))
            self.storage.publish(path, f"{self.prefix}/{stored}", replace=self.manifest is not None)
        write_text(self.storage, f"{self.prefix}/{stored}.json", to_json(Checkpoint(done, files)))
        for older, _ in self._checkpoints()[2:]:
            self.storage.remove(f"{self.prefix}/{older}.json")
            self.storage.remove(f"{self.prefix}/{older}")

    def newest_checkpoint(self) -> tuple[str, Checkpoint] | None:
        """The key of the whole checkpoint folder that has come farthest, and what is in it."""
        checkpoints, self._sizes = self._checkpoints(), self._list()
        for stored, checkpoint in checkpoints:
            if all(self._is_whole(f"{stored}/{file}", entry) for file, entry in checkpoint.files.items()):
                return f"{self.prefix}/{stored}", checkpoint
        return None

    def commit(
        self, result: Any, names: Iterable[str], checkpoint: tuple[str, Checkpoint] | None = None
    ) -> None:
        """Write the manifest of these files, and of a checkpoint (by key), if nobody has written one yet.

        A damaged stage that was made again replaces its manifest. What does not count is deleted.
        """
        files = {self._stored[name]: self._entries[self._stored[name]] for name in sorted(names)}
        self.storage.settle(f"{self.prefix}/{stored}" for stored in files)
        if checkpoint:
            folder = checkpoint[0].removeprefix(f"{self.prefix}/")
            files |= {f"{folder}/{file}": entry for file, entry in checkpoint[1].files.items()}
        made_from = self.made_from
        manifest = Manifest(made_from.fingerprint, files, json.loads(to_json(result)), {}, made_from.version)
        is_repair = self.manifest is not None
        key, text = f"{self.prefix}/{MANIFEST}", to_json(manifest)
        is_first = write_text(self.storage, key, text, replace=is_repair)
        if not is_first and read_manifest(self.storage, self.prefix) is None:
            write_text(self.storage, key, text)
        self.manifest = read_manifest(self.storage, self.prefix)
        self.delete_others()

    @contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        """A local path of one of the stage's files."""
        stored = self._stored[name]
        with self.storage.reading(f"{self.prefix}/{stored}", self._entries[stored].sha256) as path:
            yield path

    def delete_others(self) -> None:
        """What other writers have left beside the files that a finished stage lists."""
        if self.manifest:
            self._delete_others(self.manifest.files)

    def _checkpoints(self) -> list[tuple[str, Checkpoint]]:
        """Checkpoint folders that count, the one that has come farthest first."""
        start = f"{self.prefix}/{CHECKPOINT}-"
        keys = [key for key in self.storage.keys(start) if re.fullmatch(r"[^/]*\.json", key[len(start) :])]
        found = [(key, read_if_whole(self.storage, key, Checkpoint)) for key in keys]
        read = [(key.removeprefix(f"{self.prefix}/").removesuffix(".json"), one) for key, one in found if one]
        return sorted(read, key=lambda pair: -pair[1].done)

    def _find_stored(self) -> dict[str, str]:
        """Stored names by name: those of the manifest, or those whose contents are what they say."""
        self._sizes = self._list()
        if self.manifest:
            self._removed = read_removed(self.storage, self.prefix) if REMOVED in self._sizes else {}
            listed = self.manifest.files
            kept = [stored for stored in listed if stored.split("/")[0] not in self._removed]
            return {plain_name(stored): stored for stored in kept if self._is_whole(stored, listed[stored])}
        found: dict[str, str] = {}
        for stored in sorted(self._sizes):
            name = plain_name(stored)
            if name == stored or name in found or stored.startswith(f"{CHECKPOINT}-"):
                continue
            if stored in self._entries or self._is_what_it_says(stored):
                found[name] = stored
        return found

    def _list(self) -> dict[str, int]:
        """The files that are there now, with their sizes."""
        start = f"{self.prefix}/"
        return {key.removeprefix(start): size for key, size in self.storage.sizes(start).items()}

    def _is_what_it_says(self, stored: str) -> bool:
        entry = self.storage.describe(f"{self.prefix}/{stored}")
        if stored_name(plain_name(stored), entry.sha256) == stored:
            self._entries[stored] = entry
            return True
        log.warning("%s/%s is damaged (sha256 differs); it will be made again", self.prefix, stored)
        self.storage.remove(f"{self.prefix}/{stored}")
        return False

    def _is_whole(self, stored: str, recorded: FileEntry) -> bool:
        """Compare a recorded file with what is listed; a difference is named, and the file made again."""
        size = self._sizes.get(stored)
        if size is None:
            what = "gone"
        elif size != recorded.size:
            what = f"damaged (size {size}, was {recorded.size})"
        elif self.storage.known_sha256(f"{self.prefix}/{stored}") not in (None, recorded.sha256):
            what = "damaged (sha256 differs)"
        else:
            self._entries[stored] = recorded
            return True
        log.warning("%s/%s is %s; it will be made again", self.prefix, stored, what)
        return False

    def _delete_others(self, counting: Iterable[str]) -> None:
        """What others, and a stage at work, have left beside the files that count; the note goes last."""
        kept = {*counting, MANIFEST, TIMING, REMOVED}
        folders = {name.split("/")[0] for name in kept}
        start = f"{self.prefix}/"
        found = (key.removeprefix(start) for key in self.storage.keys(start))
        others = {name if name.split("/")[0] in folders else name.split("/")[0] for name in found} - kept
        for name in sorted(others, key=lambda name: (name == BEGUN, name)):
            self.storage.remove(start + name)

    def _forget_without_note(self) -> None:
        """Parts that nobody has noted as begun are of unknown origin: a loss of power took the note. (That of
        a finished stage is gone too, but not before the manifest is there.)
        """
        if not self.storage.keys(f"{self.prefix}/{MANIFEST}"):
            self._stored = {}
            self._delete_others((BEGUN,))

    def _refuse_other_begun(self) -> None:
        """Nothing is added to what somebody has begun from other inputs in the meantime."""
        begun = None if self.manifest else read_if_whole(self.storage, f"{self.prefix}/{BEGUN}", Begun)
        if begun and begun.version == self.made_from.version:
            self._refuse_other(begun.fingerprint)

    def _refuse_other(self, recorded: Fingerprint, is_finished: bool = False) -> None:
        """A finished stage stays, whatever is chosen for the next ones; one in hand takes nothing else."""
        for key, old, new in changed(recorded, self.made_from.fingerprint):
            if is_finished and may_change(key):
                continue
            raise UserError(
                f"{self.prefix} was made with {key} = {old}, now it is {new}; "
                f"put it back, choose another output, or delete that folder and the iterations after it"
            )


def read_manifest(storage: Storage, prefix: str) -> Manifest | None:
    """What a finished stage left, or None."""
    return read_if_whole(storage, f"{prefix}/{MANIFEST}", Manifest)


def has_left_something(storage: Storage, prefix: str) -> bool:
    """Whether a stage below a prefix has made anything: a note that it has begun is nothing yet."""
    notes = (BEGUN, TIMING)
    return any(key.rpartition("/")[2] not in notes for key in storage.keys(f"{prefix}/"))


def read_removed(storage: Storage, prefix: str) -> dict[str, str]:
    """Files and folders of a finished stage that went on purpose, and why."""
    return read_if_whole(storage, f"{prefix}/{REMOVED}", dict) or {}
