"""Which iterations' checkpoints are kept (`train.keep_checkpoints`).

A policy may go when a newer one has taken its place: the newest stay, and the best on the first test set. A
small file in the train folder notes what went on purpose, so that the stage still counts as done. Where a
policy is needed again, because files of an early stage were damaged or deleted, it is trained again from what
it was trained on, which gives the same one.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from mstar.errors import PolicyRemoved, UserError
from mstar.evaluation import read_report
from mstar.progress import QUIET, Progress
from mstar.rundir import RunDir
from mstar.stage_notes import REMOVED
from mstar.stages import TRAIN, stage_prefix
from mstar.storage import write_text
from mstar.stored_names import CHECKPOINT, plain_name

Result = TypeVar("Result")
Train = Callable[[int], Any]
"""The train stage of an iteration."""


def remove_superseded(run: RunDir, iteration: int) -> None:
    """Delete the checkpoints that the setting does not keep, once `iteration` is finished."""
    for number in superseded(run, iteration):
        remove_checkpoint(run, number)


def superseded(run: RunDir, iteration: int) -> list[int]:
    """The iterations whose checkpoints the setting does not keep, once `iteration` is finished."""
    keep = run.config.train.keep_checkpoints
    if keep is None:
        return []
    newest = set(range(max(0, iteration + 1 - keep), iteration + 1))
    needed = {run.policy_after(number) for number in newest | {best_iteration(run, iteration)}}
    return [number for number in range(iteration + 1) if run.policy_after(number) not in needed]


def with_removed_policies(
    run: RunDir, do: Callable[[], Result], train: Train, progress: Progress = QUIET
) -> Result:
    """What `do` returns; policies that it needs and that went are trained again first."""
    while True:
        try:
            return do()
        except PolicyRemoved as removed:
            progress.note(f"the policy of iteration {removed.iteration} is needed again: it is trained anew")
            _train_again(run, removed.iteration, train)


def _train_again(run: RunDir, iteration: int, train: Train) -> None:
    """Back to the nearest policy that is there, and forth; those on the way go again."""
    run.storage.remove(f"{stage_prefix(TRAIN.name, iteration)}/{REMOVED}")
    try:
        train(iteration)
    except PolicyRemoved as earlier:
        _train_again(run, earlier.iteration, train)
        train(iteration)
        remove_checkpoint(run, earlier.iteration)


def best_iteration(run: RunDir, iteration: int) -> int:
    """The iteration so far whose policy is most accurate on the first test set; the earliest of equals."""
    first_test = next(iter(run.config.data.tests))

    def accuracy(number: int) -> float:
        return read_report(run, number).tests[first_test].accuracy.value

    return max(range(iteration + 1), key=accuracy)


def remove_checkpoint(run: RunDir, iteration: int) -> None:
    """Delete what an iteration's training left, with a note that it went on purpose."""
    prefix = stage_prefix(TRAIN.name, iteration)
    try:
        files = run.finished(TRAIN, iteration).manifest.files
    except UserError:
        return
    for folder in checkpoint_folders(files):
        if not run.storage.keys(f"{prefix}/{folder}/"):
            continue
        note = {folder: "superseded; train.keep_checkpoints"}
        write_text(run.storage, f"{prefix}/{REMOVED}", json.dumps(note, indent=2) + "\n")
        run.storage.remove(f"{prefix}/{folder}")


def checkpoint_folders(files: Iterable[str]) -> list[str]:
    """Those among a manifest's files."""
    return sorted(
        {stored.split("/")[0] for stored in files if plain_name(stored).startswith(f"{CHECKPOINT}/")}
    )
