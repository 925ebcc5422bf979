"""`mstar verify`: read all that counts in a run, and say what is damaged, missing or left over.

Every stage's files are read and compared with its manifest, those of a stage in hand with the digits of their
names; then every manifest with what it says that the stage was made from. Nothing is written, and nothing of
the inputs outside the run is looked at. A run may be at work meanwhile: what looks wrong is looked at again.
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from mstar.config import Config
from mstar.config_file import parse_config
from mstar.errors import UserError
from mstar.fingerprints import OLD_MARK
from mstar.inventory import (
    Finding,
    StageFolder,
    State,
    abandoned_files,
    by_stage,
    damaged_file,
    look_into,
    made_again,
    missing_file,
    survey,
    unknown_files,
)
from mstar.progress import QUIET, Advance, Progress
from mstar.references import broken_references
from mstar.rundir import INPUTS, RUN
from mstar.starting import parse_started
from mstar.storage import FileEntry, Storage
from mstar.stored_names import CHECKPOINT, plain_name, stored_name
from mstar.stored_records import Unreadable, read_record, read_small
from mstar.wording import counted

WRONG: tuple[State, ...] = ("damaged", "missing")
AT_ONCE = 8
"""Stages that are looked into, and files that are read, at the same time."""
READS = 2
"""How often a file is read before it counts as damaged: a network may have spoilt it on its way."""
MB = 10**6


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found. `files` and `bytes` are those that were read and compared."""

    run: str
    files: int
    bytes: int
    findings: tuple[Finding, ...]

    @property
    def is_whole(self) -> bool:
        """Whether nothing that counts is damaged or missing."""
        return not any(finding.state in WRONG for finding in self.findings)


def verify(output: str, storage: Storage, progress: Progress = QUIET) -> Verified:
    """Read a run; UserError where there is none."""
    sizes = storage.sizes("")
    if not (RUN in sizes or INPUTS in sizes or by_stage(sizes)):
        raise UserError(f"{output} is not a run: there is neither {RUN} nor a stage; correct the address")
    stages = by_stage(sizes)
    total = sum(size for files in stages.values() for size in files.values())
    stopped = threading.Event()
    with (
        progress.task("verify", -(-total // MB), "MB") as advance,
        _pool(stopped) as of_files,
        _pool(stopped) as of_stages,
    ):
        reader = _Reader(storage, of_files, advance, stopped)
        checked = list(of_stages.map(lambda prefix: _check(storage, reader, prefix), stages))
    findings = [finding for _, found in checked for finding in found]
    findings += unknown_files(sizes)
    findings += abandoned_files(storage)
    folders = {folder.prefix: folder for folder, _ in checked}
    config, about_config = _read_config(output, storage)
    noted, about_inputs = _read_noted(storage, folders.values())
    findings += about_config + about_inputs
    if config:
        told = {finding.key for finding in findings}
        broken = broken_references(storage, config, noted, folders, sizes)
        findings += [finding for finding in broken if finding.key not in told]
    order = sorted(findings, key=lambda one: (one.state not in WRONG, one.state, one.key))
    return Verified(output, reader.files, reader.bytes, tuple(order))


def say_findings(found: Verified) -> list[str]:
    """A line for each."""
    return [
        f"{one.state:11} {one.key}: {one.reason}{'; ' if one.remedy else ''}{one.remedy}"
        for one in found.findings
    ]


def say_verified(found: Verified) -> str:
    """The last line: how much was read, and how much of it is wrong."""
    read = f"{counted(found.files, 'files')} ({found.bytes / MB:.1f} MB) read and compared"
    counts = Counter(finding.state for finding in found.findings)
    wrong = ", ".join(f"{counts[state]} {state}" for state in WRONG if counts[state])
    return f"{found.run}: {wrong or 'nothing is damaged or missing'}; {read}"


def _read_config(output: str, storage: Storage) -> tuple[Config | None, list[Finding]]:
    """What run.yaml says, or what is wrong with it."""
    again = "start the run again with its config"
    try:
        text = read_small(storage, RUN)
    except FileNotFoundError:
        return None, [Finding(RUN, "missing", "no command finds the run without it", again)]
    except Unreadable as error:
        return None, [Finding(RUN, "damaged", str(error), f"delete it and {again}")]
    try:
        return parse_config(parse_started(text, output), f"{output}/{RUN}"), []
    except UserError as error:
        return None, [Finding(RUN, "damaged", str(error), f"delete it and {again}")]


def _read_noted(storage: Storage, folders: Iterable[StageFolder]) -> tuple[dict[str, str], list[Finding]]:
    """The identities of the inputs, or what is wrong with them; version 0.1.0 noted none."""
    then = "it notes anew what lies at the inputs' addresses"
    try:
        return read_record(storage, INPUTS, dict), []
    except FileNotFoundError:
        manifests = [folder.manifest for folder in folders if folder.manifest]
        is_needed = any(OLD_MARK not in manifest.fingerprint for manifest in manifests)
        return {}, [missing_file(INPUTS, then)] if is_needed else []
    except Unreadable as error:
        return {}, [damaged_file(INPUTS, str(error), then)]


def _check(storage: Storage, reader: "_Reader", prefix: str) -> tuple[StageFolder, list[Finding]]:
    """One stage; what looks wrong once may have changed while it was looked at."""
    folder, found = _look(storage, reader, prefix)
    if any(finding.state in WRONG for finding in found):
        folder, found = _look(storage, reader, prefix)
    return folder, found


def _look(storage: Storage, reader: "_Reader", prefix: str) -> tuple[StageFolder, list[Finding]]:
    start = f"{prefix}/"
    sizes = {key.removeprefix(start): size for key, size in storage.sizes(start).items()}
    folder = look_into(storage, prefix, sizes)
    found = survey(folder)
    told = {finding.key for finding in found}
    entries = {name: entry for name, entry in listed_files(folder).items() if start + name not in told}
    if folder.manifest:
        return folder, found + reader.compare(folder, entries)
    digits = reader.compare_digits(folder) if folder.begun else []
    return folder, found + reader.compare(folder, entries) + digits


def listed_files(folder: StageFolder) -> dict[str, FileEntry]:
    """The files that a manifest, or the note of a checkpoint, says are there."""
    if folder.manifest:
        listed = folder.manifest.files
        return {name: listed[name] for name in listed if name.split("/")[0] not in folder.removed}
    return {
        f"{name}/{file}": entry
        for name, checkpoint in folder.checkpoints.items()
        for file, entry in checkpoint.files.items()
    }


class _Reader:
    """Reads files, several at a time, and tells how far it is."""

    def __init__(self, storage: Storage, pool: Executor, advance: Advance, stopped: threading.Event) -> None:
        self.files = self.bytes = 0
        self._stopped = stopped
        self._storage = storage
        self._pool = pool
        self._advance = advance
        self._lock = threading.Lock()

    def compare(self, folder: StageFolder, entries: Mapping[str, FileEntry]) -> list[Finding]:
        """Files whose bytes are not those that were written."""
        keys = {name: f"{folder.prefix}/{name}" for name in entries}
        found = self._pool.map(lambda name: self._differs(keys[name], entries[name].sha256), entries)
        return [
            missing_file(keys[name], made_again(name))
            if answer == "gone"
            else damaged_file(keys[name], "its sha256 differs", made_again(name))
            for name, answer in zip(entries, found, strict=True)
            if answer
        ]

    def compare_digits(self, folder: StageFolder) -> list[Finding]:
        """Parts of a stage in hand whose bytes are not what their names say."""
        names = [
            name
            for name in folder.sizes
            if plain_name(name) != name and not name.startswith(f"{CHECKPOINT}-")
        ]
        found = self._pool.map(lambda name: self._hash(f"{folder.prefix}/{name}"), names)
        return [
            damaged_file(f"{folder.prefix}/{name}", "its sha256 is not what its name says", made_again(name))
            for name, sha256 in zip(names, found, strict=True)
            if sha256 and stored_name(plain_name(name), sha256) != name
        ]

    def _differs(self, key: str, sha256: str) -> str:
        for _ in range(READS):
            found = self._hash(key)
            if found in (sha256, None):
                return "" if found else "gone"
        return "other bytes"

    def _hash(self, key: str) -> str | None:
        """The sha256 of a file; None where it is gone."""
        found = hashlib.sha256()
        try:
            for block in self._storage.blocks(key):
                if self._stopped.is_set():
                    break
                found.update(block)
                self._count(len(block))
        except FileNotFoundError:
            return None
        with self._lock:
            self.files += 1
        return found.hexdigest()

    def _count(self, more: int) -> None:
        with self._lock:
            before, self.bytes = self.bytes, self.bytes + more
            self._advance(self.bytes // MB - before // MB)


@contextmanager
def _pool(stopped: threading.Event) -> Iterator[Executor]:
    """Threads that begin nothing more, and are told to stop, once the block has ended badly."""
    pool = ThreadPoolExecutor(AT_ONCE, "verify")
    try:
        yield pool
    except BaseException:
        stopped.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
