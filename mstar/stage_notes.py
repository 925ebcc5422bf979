"""The small files in a stage's folder that say what the others are.

    manifest.json   what a finished stage left, and what from
    begun.json      what an unfinished one is made from
    removed.json    checkpoints that went on purpose
    timing.json     how long it took, for people

Who writes them, and when, is in stagedir.py.
"""

from dataclasses import dataclass, field
from typing import Any

from mstar.errors import WrongBytes
from mstar.fingerprints import Fingerprint
from mstar.storage import FileEntry, Storage
from mstar.stored_records import read_if_whole

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


def refuse_other_bytes(
    storage: Storage, prefix: str, manifest: Manifest, folder: str, unread: tuple[str, ...] = ()
) -> None:
    """WrongBytes where a checkpoint of a finished training is not as it was written: what is made with it is
    noted as made from that training. `unread` begins the names of files that nobody is about to read: hashing
    the moments would take twice the time of the weights. In a bucket it shows when they are read.
    """
    for stored, entry in manifest.files.items():
        own, _, name = stored.partition("/")
        if own != folder or name.startswith(unread):
            continue
        key = f"{prefix}/{stored}"
        if storage.known_sha256(key) not in (None, entry.sha256):
            raise WrongBytes(f"{key} is damaged; start mstar run, which trains that policy again")
