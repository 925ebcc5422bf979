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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mstar.errors import UserError
from mstar.fingerprints import Fingerprint, changed, may_change
from mstar.records import to_json
from mstar.stage_notes import (
    BEGUN,
    MANIFEST,
    REMOVED,
    TIMING,
    Begun,
    Checkpoint,
    Manifest,
    has_left_something,
    read_manifest,
    read_removed,
)
from mstar.storage import FileEntry, Storage, describe, write_text
from mstar.stored_names import CHECKPOINT, describe_folder, folder_sha256, plain_name, stored_name
from mstar.stored_records import Unreadable, read_if_whole, read_record

log = logging.getLogger("mstar")


class StageDir:
    """One stage's folder. Refuses to go on from files that were made from something else."""

    def __init__(self, storage: Storage, prefix: str, made_from: Begun, found: Manifest | None = None):
        """`found` is its manifest, where that has just been read."""
        self.storage = storage
        self.prefix = prefix
        self.made_from = Begun(json.loads(json.dumps(made_from.fingerprint)), made_from.version)
        self._entries: dict[str, FileEntry] = {}
        self._removed: dict[str, str] = {}
        self._sizes: dict[str, int] = {}
        self._stored: dict[str, str] = {}
        self.manifest: Manifest | None = None
        self._take_up(found or read_manifest(storage, prefix))

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
            return None
        text = to_json(self.made_from)
        if not self.manifest:
            if write_text(self.storage, f"{self.prefix}/{BEGUN}", text, replace=False, durable=False):
                return self._begin_first()
            try:
                begun = self._read_begun()
            except FileNotFoundError:  # another process has finished the stage meanwhile
                self._take_up(read_manifest(self.storage, self.prefix))
                return None if self.done else self.begin()
            if begun and begun.version == self.made_from.version:
                if has_left_something(self.storage, self.prefix):
                    self._refuse_other(begun.fingerprint)
                elif any(changed(begun.fingerprint, self.made_from.fingerprint)):
                    write_text(self.storage, f"{self.prefix}/{BEGUN}", text, durable=False)
                return None
        self.manifest, self._stored = None, {}
        self.storage.remove(f"{self.prefix}/{MANIFEST}")
        self._delete_others((), self._list())
        write_text(self.storage, f"{self.prefix}/{BEGUN}", text, durable=False)
        return None

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
            self._delete_others(self.manifest.files, self._list())

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
        try:
            entry = self.storage.describe(f"{self.prefix}/{stored}")
        except FileNotFoundError:  # another process has finished the stage meanwhile
            return False
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

    def _delete_others(self, counting: Iterable[str], found: Iterable[str]) -> None:
        """Of the files that were found, those that do not count; the note goes last."""
        kept = {*counting, MANIFEST, TIMING, REMOVED}
        folders = {name.split("/")[0] for name in kept}
        others = {name if name.split("/")[0] in folders else name.split("/")[0] for name in found} - kept
        for name in sorted(others, key=lambda name: (name == BEGUN, name)):
            self.storage.remove(f"{self.prefix}/{name}")

    def _read_begun(self) -> Begun | None:
        """The note that the stage has begun; None if it says nothing, FileNotFoundError if there is none."""
        try:
            return read_record(self.storage, f"{self.prefix}/{BEGUN}", Begun)
        except Unreadable:
            log.warning("%s/%s is damaged; it will be made again", self.prefix, BEGUN)
            return None

    def _take_up(self, manifest: Manifest | None) -> None:
        self.manifest = manifest
        if manifest:
            self._refuse_other(manifest.fingerprint, is_finished=True)
        self._stored = self._find_stored()
        if manifest and not self.done:
            self._refuse_other(manifest.fingerprint)

    def _begin_first(self) -> None:
        """There was no note. Another process may have finished the stage meanwhile, and deleted it; else what
        was there before is of unknown origin (a loss of power took its note), and what has come since is of
        somebody who has read ours.
        """
        if self.storage.keys(f"{self.prefix}/{MANIFEST}"):
            self._take_up(read_manifest(self.storage, self.prefix))
        elif BEGUN not in self._sizes:
            self._stored = {}
            self._delete_others((), self._sizes)

    def _refuse_other_begun(self) -> None:
        """Nothing is added to what somebody has begun from other inputs in the meantime."""
        begun = None
        with suppress(FileNotFoundError):
            begun = None if self.manifest else self._read_begun()
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
