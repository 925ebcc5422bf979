"""Whether the stages of a run fit together: each says in its manifest what it was made from.

The tables are those of reads.py, asked of what `mstar verify` has read: so nothing is read twice, and the
inputs outside the run need not be there.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from mstar.config import Config
from mstar.errors import UserError
from mstar.fingerprints import changed, may_change, settings_of
from mstar.inventory import (
    AGAIN,
    Finding,
    StageFolder,
    damaged_file,
    iteration_of_state,
    missing_file,
    state_key,
)
from mstar.reads import READS, evaluate_reads
from mstar.records import Decision, State
from mstar.rundir import FIRST_POLICY, Finished, RunDir
from mstar.stage_notes import MANIFEST
from mstar.stages import ADAPT, Stage, stage_prefix
from mstar.storage import Storage
from mstar.stored_records import Unreadable, read_record

UNKNOWN = "unknown"
"""The identity of an input that the run has no note of."""


class _Absent(UserError):
    """Something that a finished stage was made from is not there, or says nothing."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} is not there")
        self.key = key


class _Seen(RunDir):
    """A run as it was read: manifests from memory, inputs by the run's own notes."""

    def __init__(
        self, storage: Storage, config: Config, noted: Mapping[str, str], folders: Mapping[str, StageFolder]
    ) -> None:
        super().__init__(storage, config)
        self._noted = dict(noted)
        self._folders = folders

    def finished(self, stage: Stage[Any], iteration: int | None, folder_name: str = "") -> Finished:
        prefix = stage_prefix(folder_name or stage.name, iteration)
        folder = self._folder(prefix)
        assert folder.manifest
        return Finished(self.storage, prefix, folder.manifest)

    def stage_identity(self, stage: Stage[Any], iteration: int | None) -> str:
        return self._folder(stage_prefix(stage.name, iteration)).manifest_sha256

    def policy_identity(self, policy: str) -> str:
        if policy == FIRST_POLICY:
            return self.identity("model.path")
        return self._folder(str(PurePosixPath(policy).parent)).manifest_sha256

    def identity(self, key: str) -> str:
        return self._noted.get(key, UNKNOWN)

    def state(self, iteration: int) -> State:
        if iteration and self._stored_state(iteration) is None:
            raise _Absent(state_key(iteration))
        return super().state(iteration)

    def _folder(self, prefix: str) -> StageFolder:
        folder = self._folders.get(prefix)
        if folder is None or folder.manifest is None:
            raise _Absent(f"{prefix}/{MANIFEST}")
        return folder


def broken_references(
    storage: Storage,
    config: Config,
    noted: Mapping[str, str],
    folders: Mapping[str, StageFolder],
    keys: Iterable[str],
) -> list[Finding]:
    """Manifests that were made from something else than the run has, and what they were made from that is
    not there; each is named once. `folders` are the run's stages by prefix, `keys` all its files.
    """
    run = _Seen(storage, config, noted, folders)
    begun = {folder.iteration for folder in folders.values() if folder.iteration}
    begun |= {iteration for key in keys if (iteration := iteration_of_state(key))}
    found = [finding for iteration in sorted(begun) for finding in _check_state(run, iteration)]
    for folder in folders.values():
        if folder.manifest:
            found += _check_stage(run, folder)
    return list({finding.key: finding for finding in reversed(found)}.values())


def _check_state(run: _Seen, iteration: int) -> Iterator[Finding]:
    """An iteration starts from what the one before has decided."""
    key, then = state_key(iteration), "it writes it again from the decision before"
    try:
        stored = read_record(run.storage, key, State)
    except FileNotFoundError:
        yield missing_file(key, then)
        return
    except Unreadable as error:
        yield damaged_file(key, str(error), then)
        return
    try:
        decision: Decision = run.result(ADAPT, iteration - 1)
        seed = run.state(iteration - 1).seed
        decided = State(iteration, run.policy_after(iteration - 1), decision.temperature, seed)
    except _Absent as absent:
        yield missing_file(absent.key, "it makes the stage again")
    except UserError:
        return
    else:
        if stored != decided:
            yield damaged_file(key, f"it is not what {stage_prefix(ADAPT.name, iteration - 1)} decided", then)


def _check_stage(run: _Seen, folder: StageFolder) -> Iterator[Finding]:
    """What the manifest says that the stage was made from, against what the run has; and its result."""
    assert folder.manifest
    key, stage, iteration = f"{folder.prefix}/{MANIFEST}", folder.stage, folder.iteration
    try:
        reads = evaluate_reads(run, None) if iteration is None else READS[stage.name](run, iteration)
        run.result(stage, iteration, PurePosixPath(folder.prefix).name)
    except _Absent as absent:
        yield missing_file(absent.key, "it makes the stage again")
        return
    except UserError as error:
        yield Finding(key, "damaged", str(error), "do as it says")
        return
    present = json.loads(json.dumps(settings_of(run.config, stage.name) | reads))
    for name, old, new in changed(folder.manifest.fingerprint, present):
        if UNKNOWN in (old, new) or may_change(name):
            continue
        reason = f"it was made with {name} = {_short(old)}, and the run has {_short(new)}"
        remedy = f"put that back, or delete {folder.prefix} and the iterations after it, and {AGAIN}"
        yield Finding(key, "damaged", reason, remedy)
        return


def _short(value: Any) -> str:
    text = str(value)
    return f"{text[:12]}..." if len(text) > 40 else text
