"""`mstar clean`: delete what does not count, and only that.

Orphans go where a stage is finished and whole: stages bear that at any time, as its writers delete them too.
Checkpoints go that `train.keep_checkpoints` does not keep, as the loop would do it. A stage that is not
finished, or is damaged, may be at work or be made again: what lies there stays.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from mstar.checkpoints import checkpoint_folders, remove_checkpoint, superseded
from mstar.inventory import (
    Finding,
    StageFolder,
    abandoned_files,
    by_stage,
    look_into,
    survey,
    unknown_files,
)
from mstar.rundir import RunDir
from mstar.stages import TRAIN, stage_prefix
from mstar.starting import finished_iterations
from mstar.wording import counted

AT_ONCE = 8
"""Stages that are looked into at the same time."""


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What is deleted, in that order, and what is left, each with the reason."""

    deleted: tuple[Finding, ...]
    left: tuple[Finding, ...]


def plan_cleaning(run: RunDir) -> Cleaning:
    """What could be deleted from a run now. Nothing is changed."""
    sizes = run.storage.sizes("")
    stages = by_stage(sizes)
    with ThreadPoolExecutor(AT_ONCE, "clean") as pool:
        folders = list(pool.map(lambda prefix: look_into(run.storage, prefix, stages[prefix]), stages))
    deleted = list(abandoned_files(run.storage))
    left: list[Finding] = []
    for folder in folders:
        found = survey(folder)
        if reason := _why_left(folder, found):
            left += [replace(one, reason=f"{one.reason}; {reason}") for one in found if _is_left_over(one)]
        else:
            deleted += found
    deleted += _superseded(run, {folder.prefix: folder for folder in folders})
    left += unknown_files(sizes)
    return Cleaning(tuple(deleted), tuple(left))


def clean(run: RunDir, agreed: Cleaning) -> Cleaning:
    """Delete what was agreed and may still go; UserError while a loop works on the run on this machine."""
    with run.storage.hold():
        present = plan_cleaning(run)
        wanted = {finding.key for finding in agreed.deleted}
        deleted = tuple(finding for finding in present.deleted if finding.key in wanted)
        with run.storage.scratch():
            pass  # whoever makes something there deletes what the dead have left
        for finding in deleted:
            _delete(run, finding)
    return Cleaning(deleted, present.left)


def _why_left(folder: StageFolder, found: list[Finding]) -> str:
    if folder.manifest is None:
        return "left, as the stage is not finished"
    if any(finding.state in ("damaged", "missing") for finding in found):
        return "left, as the stage is damaged and may be being made again"
    return ""


def _is_left_over(finding: Finding) -> bool:
    return finding.state in ("orphaned", "superseded", "under way")


def _superseded(run: RunDir, folders: Mapping[str, StageFolder]) -> Iterator[Finding]:
    """Checkpoints of finished iterations that the setting does not keep."""
    done = finished_iterations(run)
    keep = run.config.train.keep_checkpoints
    for iteration in superseded(run, done - 1) if done else ():
        prefix = stage_prefix(TRAIN.name, iteration)
        folder = folders[prefix]
        for name in checkpoint_folders(folder.manifest.files if folder.manifest else ()):
            size = sum(size for file, size in folder.sizes.items() if file.startswith(f"{name}/"))
            if size and name not in folder.removed:
                reason = f"train.keep_checkpoints = {keep} keeps the newest and the best"
                yield Finding(f"{prefix}/{name}", "superseded", reason, bytes=size)


def _delete(run: RunDir, finding: Finding) -> None:
    if finding.state == "superseded":
        remove_checkpoint(run, int(finding.key.split("/")[1]))
    run.storage.remove(finding.key)


def say_amount(cleaning: Cleaning) -> str:
    """How much goes, such as `3 files and folders (1.5 MB)`."""
    size = sum(finding.bytes for finding in cleaning.deleted)
    return f"{counted(len(cleaning.deleted), 'files or folders')} ({size / 1e6:.1f} MB)"
