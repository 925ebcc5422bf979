"""What lies in a run and what of it counts, by names and sizes: what `mstar verify` and `mstar clean` share.

A stage's folder is looked into with its small files (manifest and notes) read; which of the others should be
there follows from those. Files outside stage folders that mstar does not know are the user's, and left alone.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from mstar.evaluation import REST
from mstar.rundir import INPUTS, RUN
from mstar.stage_notes import BEGUN, MANIFEST, REMOVED, TIMING, Begun, Checkpoint, Manifest
from mstar.stages import EVALUATE, STAGES, Stage, iteration_prefix
from mstar.storage import Storage
from mstar.stored_names import CHECKPOINT, plain_name
from mstar.stored_records import Unreadable, parse_record, read_small
from mstar.wording import counted

Record = TypeVar("Record")
State = Literal["damaged", "missing", "orphaned", "superseded", "under way", "unknown"]
AGAIN, CLEAN = "start mstar run again", "mstar clean deletes it"
FOLDERS: Mapping[str, Stage[Any]] = {stage.name: stage for stage in STAGES} | {REST: EVALUATE}
"""Which stage fills which folder of an iteration."""
VIEWS = ("report.html", "summary.json", "metrics.jsonl", TIMING)
VIEW_FOLDERS = ("tracking", "tensorboard")
KEPT_CHECKPOINTS = 2
"""Of a stage in hand; see `StageDir.write_checkpoint`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A file or folder of a run that is worth a line, and what to do about it."""

    key: str
    state: State
    reason: str
    remedy: str = ""
    bytes: int = 0
    """What deleting it would free."""


@dataclass(frozen=True)
class StageFolder:
    """One stage's folder as it was found; names are relative to it."""

    prefix: str
    sizes: Mapping[str, int]
    manifest: Manifest | None = None
    manifest_sha256: str = ""
    begun: Begun | None = None
    removed: Mapping[str, str] = field(default_factory=dict)
    checkpoints: Mapping[str, Checkpoint] = field(default_factory=dict)
    """Of a stage in hand, by folder."""
    unreadable: tuple[Finding, ...] = ()

    @property
    def stage(self) -> Stage[Any]:
        return FOLDERS[self.prefix.rpartition("/")[2]]

    @property
    def iteration(self) -> int | None:
        """None is the start."""
        place = self.prefix.split("/")
        return int(place[1]) if place[0] == "iterations" else None


def stage_of(key: str) -> str | None:
    """The stage folder that a file lies in; None for one that is in none."""
    parts = key.split("/")
    if parts[0] == "start" and len(parts) > 2 and parts[1] == EVALUATE.name:
        return f"start/{parts[1]}"
    if len(parts) > 3 and parts[2] in FOLDERS and _iteration("/".join(parts[:2])) is not None:
        return "/".join(parts[:3])
    return None


def state_key(iteration: int) -> str:
    """The file that says what an iteration, after the first, starts from."""
    return f"{iteration_prefix(iteration)}/state.json"


def iteration_of_state(key: str) -> int | None:
    """Whose state.json a file is; None for other files."""
    folder, _, name = key.rpartition("/")
    return _iteration(folder) if name == "state.json" else None


def _iteration(folder: str) -> int | None:
    found = re.fullmatch(r"iterations/([0-9]{3,9})", folder)
    return int(found[1]) if found and iteration_prefix(int(found[1])) == folder else None


def by_stage(sizes: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """The files of each stage folder, by name there; a run's other files are left out."""
    found: dict[str, dict[str, int]] = {}
    for key, size in sizes.items():
        if prefix := stage_of(key):
            found.setdefault(prefix, {})[key.removeprefix(f"{prefix}/")] = size
    return found


def unknown_files(sizes: Mapping[str, int]) -> Iterator[Finding]:
    """Files that are no part of a run as mstar leaves it."""
    for key in sorted(sizes):
        is_view = key in VIEWS or key.split("/")[0] in VIEW_FOLDERS
        if not (stage_of(key) or iteration_of_state(key) or is_view or key in (RUN, INPUTS)):
            yield Finding(key, "unknown", "no file of mstar's; it is left alone", bytes=sizes[key])


def abandoned_files(storage: Storage) -> Iterator[Finding]:
    """What killed processes were making."""
    for key, size in storage.abandoned().items():
        yield Finding(key, "orphaned", "a killed process was making it", CLEAN, size)


def look_into(storage: Storage, prefix: str, sizes: Mapping[str, int]) -> StageFolder:
    """Read the small files of a stage folder. What has gone since it was listed counts as not there."""
    unreadable: list[Finding] = []

    def read(name: str, kind: type[Record], then: str) -> tuple[Record | None, bytes]:
        if name not in sizes:
            return None, b""
        try:
            data = read_small(storage, f"{prefix}/{name}")
            return parse_record(data, kind), data
        except FileNotFoundError:
            return None, b""
        except Unreadable as error:
            unreadable.append(Finding(f"{prefix}/{name}", "damaged", str(error), f"{AGAIN}: {then}"))
            return None, b""

    manifest, text = read(MANIFEST, Manifest, "it makes the stage again (if it stops there, delete the file)")
    removed, _ = read(REMOVED, dict, "it trains that policy again")
    if MANIFEST in sizes:
        sha256 = hashlib.sha256(text).hexdigest()
        return StageFolder(
            prefix, sizes, manifest, sha256, removed=removed or {}, unreadable=tuple(unreadable)
        )
    begun, _ = read(BEGUN, Begun, "the stage begins anew")
    notes = [name for name in sizes if re.fullmatch(rf"{CHECKPOINT}-[^/]*\.json", name)]
    found = {
        name.removesuffix(".json"): read(name, Checkpoint, "training goes on from an earlier one")[0]
        for name in notes
    }
    checkpoints = {folder: one for folder, one in found.items() if one}
    return StageFolder(prefix, sizes, begun=begun, checkpoints=checkpoints, unreadable=tuple(unreadable))


def survey(folder: StageFolder) -> list[Finding]:
    """Everything about a stage folder that names and sizes tell."""
    if folder.manifest:
        found = [*_absent(folder), *_others(folder)]
    elif MANIFEST in folder.sizes:
        found = []
    else:
        found = [*_in_hand(folder)]
    return [*folder.unreadable, *found]


def missing_file(key: str, then: str) -> Finding:
    return Finding(key, "missing", "it is not there", f"{AGAIN}: {then}")


def damaged_file(key: str, reason: str, then: str) -> Finding:
    return Finding(key, "damaged", reason, f"delete it and {AGAIN}: {then}")


def made_again(name: str) -> str:
    """What a rerun does about a file of a finished stage."""
    is_policy = plain_name(name).startswith(f"{CHECKPOINT}/")
    return "it trains that policy again" if is_policy else "it makes that part again"


def _absent(folder: StageFolder) -> Iterator[Finding]:
    """Files of the manifest that are not there, or of another size."""
    assert folder.manifest
    for name, entry in folder.manifest.files.items():
        key = f"{folder.prefix}/{name}"
        size = folder.sizes.get(name)
        if name.split("/")[0] in folder.removed:
            continue
        if size is None:
            yield missing_file(key, made_again(name))
        elif size != entry.size:
            yield damaged_file(key, f"it has {size} bytes, {entry.size} were written", made_again(name))


def _others(folder: StageFolder) -> Iterator[Finding]:
    """What lies beside the files that the manifest names; a folder is one finding, and the note is last."""
    assert folder.manifest
    counting = {*folder.manifest.files, MANIFEST, TIMING, REMOVED}
    folders = {name.split("/")[0] for name in counting}
    sizes: dict[str, int] = {}
    for name, size in folder.sizes.items():
        top = name.split("/")[0]
        if top in folder.removed or top not in folders:
            sizes[top] = sizes.get(top, 0) + size
        elif name not in counting:
            sizes[name] = size
    for name in sorted(sizes, key=lambda name: (name == BEGUN, name)):
        key = f"{folder.prefix}/{name}"
        if name in folder.removed:
            yield Finding(key, "superseded", f"{REMOVED} says that it went", CLEAN, sizes[name])
        else:
            yield Finding(
                key,
                "orphaned",
                "the stage's manifest does not name it",
                CLEAN,
                sizes[name],
            )


def _in_hand(folder: StageFolder) -> Iterator[Finding]:
    """A stage without manifest: at work, killed, or never begun."""
    left = [name for name in folder.sizes if name not in (BEGUN, TIMING, REMOVED)]
    if folder.begun or BEGUN in folder.sizes:
        reason = f"begun, with {counted(len(left), 'files')}"
        yield Finding(folder.prefix, "under way", reason, f"{AGAIN} to go on, unless it is at work")
    elif left:
        size = sum(folder.sizes[name] for name in left)
        reason = "nothing says what its files were made from"
        yield Finding(folder.prefix, "orphaned", reason, f"{AGAIN}: it makes the stage anew", size)
        return
    ranked = sorted(folder.checkpoints, key=lambda name: -folder.checkpoints[name].done)
    for number, name in enumerate(ranked):
        files = {f"{name}/{file}": entry for file, entry in folder.checkpoints[name].files.items()}
        if number >= KEPT_CHECKPOINTS:
            size = sum(entry.size for entry in files.values())
            reason, then = "newer checkpoints are there", "the stage deletes it when it goes on"
            yield Finding(f"{folder.prefix}/{name}", "superseded", reason, then, size)
            continue
        for file, entry in files.items():
            if folder.sizes.get(file) != entry.size:
                then = "training goes on from an earlier checkpoint"
                yield Finding(f"{folder.prefix}/{file}", "damaged", "it is gone or cut", f"{AGAIN}: {then}")
    yield from _half_checkpoints(folder, left)


def _half_checkpoints(folder: StageFolder, left: Iterable[str]) -> Iterator[Finding]:
    sizes: dict[str, int] = {}
    for name in left:
        top, slash, _ = name.partition("/")
        if slash and top.startswith(f"{CHECKPOINT}-") and f"{top}.json" not in folder.sizes:
            sizes[top] = sizes.get(top, 0) + folder.sizes[name]
    for name, size in sorted(sizes.items()):
        reason = (
            "no file beside it says that it counts: it is being written, or was when its writer was killed"
        )
        then = "the stage deletes it when it ends"
        yield Finding(f"{folder.prefix}/{name}", "orphaned", reason, then, size)
