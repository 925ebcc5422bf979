"""What every stage does besides its own work, said once: is it done already, from what is it made, which
parts are missing, how long did it take, and who writes the manifest.

A stage module names what it reads (`reads`) and hands `perform` a function that does the work; the function
writes files through `Work` and returns the stage's result, or None while other shards still owe parts.
"""

import errno
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from mstar.config import Config
from mstar.fingerprints import Fingerprint
from mstar.progress import QUIET, Progress
from mstar.rundir import Finished, RunDir
from mstar.stage_notes import Begun
from mstar.stagedir import StageDir
from mstar.stages import WHOLE, Shard, Stage, stage_prefix
from mstar.timing import StageClock, stage_clock

Result = TypeVar("Result")
TRIES = 3
"""How often a stage is begun whose files go while they are read, as another process has come farther."""


@dataclass(frozen=True)
class Turn:
    """Which stage work is asked for: of which run, after which turn of the loop, and which share of it."""

    run: RunDir
    iteration: int | None
    """None is the start, before the first iteration."""
    shard: Shard = WHOLE
    progress: Progress = QUIET


@dataclass(frozen=True)
class Work:
    """A stage at work."""

    stage: Stage[Any]
    turn: Turn
    folder: StageDir
    clock: StageClock

    @property
    def run(self) -> RunDir:
        return self.turn.run

    @property
    def config(self) -> Config:
        return self.turn.run.config

    @property
    def iteration(self) -> int | None:
        return self.turn.iteration

    @property
    def number(self) -> int:
        """The iteration, in a stage that has no start."""
        if self.turn.iteration is None:
            raise ValueError(f"{self.stage.name} belongs to an iteration; the start has none")
        return self.turn.iteration

    @property
    def progress(self) -> Progress:
        return self.turn.progress

    def missing(self, names: Sequence[str]) -> list[str]:
        """Of the stage's parts, those that this shard owns and nobody has written yet."""
        absent = set(self.folder.missing(names))
        return [name for name in self._own(names) if name in absent]

    def commit(self, names: Sequence[str], result: Callable[[], Result]) -> Result | None:
        """Write the manifest if all parts are there, whoever wrote them; `result` reads them.
        FileNotFoundError where parts of this shard are gone again.
        """
        absent = set(self.folder.missing(names))
        if gone := absent.intersection(self._own(names)):
            raise FileNotFoundError(errno.ENOENT, "deleted again", f"{self.folder.prefix}/{min(gone)}")
        if absent:
            return None
        found = result()
        self.folder.commit(found, names)
        return found

    def _own(self, names: Sequence[str]) -> list[str]:
        return [name for number, name in enumerate(names) if self.turn.shard.owns(number)]


def perform(
    stage: Stage[Result],
    turn: Turn,
    reads: Fingerprint,
    do: Callable[[Work], Result | None],
    folder_name: str = "",
) -> Result | None:
    """The result of a stage: what its folder says, or what `do` makes; None while other shards owe parts.

    `reads` identifies all that the stage reads besides its settings. Several processes may do the same work
    at once: the first to finish writes the manifest, and the others return what that says.
    """
    begun = partial(_perform, stage, turn, reads, do, folder_name)
    for _ in range(TRIES - 1):
        with suppress(FileNotFoundError):
            return begun()
    return begun()


def _perform(
    stage: Stage[Result],
    turn: Turn,
    reads: Fingerprint,
    do: Callable[[Work], Result | None],
    folder_name: str,
) -> Result | None:
    run, prefix = turn.run, stage_prefix(folder_name or stage.name, turn.iteration)
    run.forget(prefix)
    made_from = Begun(run.settings(stage) | reads, stage.version)
    folder = StageDir(run.storage, prefix, made_from, run.manifest(prefix))
    if not folder.done:
        folder.begin()
    if folder.manifest and folder.done:
        if folder.is_half_deleted:
            folder.delete_others()
        return run.result_in(Finished(run.storage, prefix, folder.manifest), stage)
    try:
        with stage_clock(run.storage, prefix) as clock:
            found = do(Work(stage, turn, folder, clock))
    except FileNotFoundError:
        if not _is_done_by_another(folder):
            raise
    else:
        if found is None and not _is_done_by_another(folder):
            return None
    run.forget(prefix)
    return run.result(stage, turn.iteration, folder_name)


def _is_done_by_another(folder: StageDir) -> bool:
    """Whether another process has finished the stage meanwhile; then what this one left is deleted."""
    present = StageDir(folder.storage, folder.prefix, folder.made_from)
    if present.done:
        present.delete_others()
    return present.done
