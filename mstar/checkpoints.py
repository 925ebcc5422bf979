"""Which iterations' checkpoints are kept (`train.keep_checkpoints`).

A policy may go when a newer one has taken its place: the newest stay, and the best on the first test set. A
small file in the train folder notes what went on purpose, so that the stage still counts as done.
"""

import json

from mstar.errors import UserError
from mstar.evaluation import read_report
from mstar.rundir import RunDir
from mstar.stagedir import REMOVED
from mstar.stages import TRAIN, stage_prefix
from mstar.storage import write_text
from mstar.stored_names import CHECKPOINT, plain_name


def remove_superseded(run: RunDir, iteration: int) -> None:
    """Delete the checkpoints that the setting does not keep, once `iteration` is finished."""
    keep = run.config.train.keep_checkpoints
    if keep is None:
        return
    newest = set(range(max(0, iteration + 1 - keep), iteration + 1))
    needed = {run.policy_after(number) for number in newest | {best_iteration(run, iteration)}}
    for number in range(iteration + 1):
        if run.policy_after(number) not in needed:
            _remove(run, number)


def best_iteration(run: RunDir, iteration: int) -> int:
    """The iteration so far whose policy is most accurate on the first test set; the earliest of equals."""
    first_test = next(iter(run.config.data.tests))

    def accuracy(number: int) -> float:
        return read_report(run, number).tests[first_test].accuracy.value

    return max(range(iteration + 1), key=accuracy)


def _remove(run: RunDir, iteration: int) -> None:
    prefix = stage_prefix(TRAIN.name, iteration)
    try:
        files = run.finished(TRAIN, iteration).manifest.files
    except UserError:
        return
    folders = {stored.split("/")[0] for stored in files if plain_name(stored).startswith(f"{CHECKPOINT}/")}
    for folder in sorted(folders):
        if not run.storage.keys(f"{prefix}/{folder}/"):
            continue
        note = {folder: "superseded; train.keep_checkpoints"}
        write_text(run.storage, f"{prefix}/{REMOVED}", json.dumps(note, indent=2) + "\n")
        run.storage.remove(f"{prefix}/{folder}")
