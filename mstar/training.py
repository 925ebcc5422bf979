"""The train stage: fine-tune the policy on the selected responses.

Reads the policy, the iteration's selected responses and their problems; writes a checkpoint. What is carried
over from one iteration to the next is `train.inherit` (arXiv 2412.17451, section 3): everything, only the
weights, or nothing, where nothing means the first policy again and every response selected so far.
"""

import errno
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

import pyarrow.parquet as pq

from mstar.config_train import Train
from mstar.datasets import Reading
from mstar.model_folders import PROBE, PROCESSOR_FILES
from mstar.progress import QUIET, Progress
from mstar.reads import lesson_iterations, lesson_policy, train_reads
from mstar.records import Trained
from mstar.rundir import FIRST_POLICY, RunDir
from mstar.seeds import derive_seed
from mstar.selection import SELECTED
from mstar.stage_notes import Checkpoint
from mstar.stages import SELECT, TRAIN
from mstar.trainers import Lesson, Progressed, build_trainer
from mstar.trainers.saving import saving_meanwhile
from mstar.work import Turn, Work, perform


def train(run: RunDir, iteration: int, progress: Progress = QUIET) -> Trained | None:
    """Train on what the iteration selected, and leave a checkpoint; with nothing selected, leave none."""
    origin, iterations = lesson_policy(run, iteration), lesson_iterations(run.config, iteration)

    def work_on(work: Work) -> Trained | None:
        with ExitStack() as copies:
            selected = [
                copies.enter_context(run.finished(SELECT, number).reading(SELECTED)) for number in iterations
            ]
            return _train(work, origin, selected)

    return perform(TRAIN, Turn(run, iteration, progress=progress), train_reads(run, iteration), work_on)


def _train(work: Work, origin: str, selected: Sequence[Path]) -> Trained:
    rows = _problem_rows(work, selected)
    progressed = Progressed(0)
    if rows:
        with ExitStack() as copies:
            progressed = _teach(work, _lesson(work, origin, selected, rows, copies))
    else:
        work.progress.note(f"iteration {work.iteration} selected no response: the policy stays as it is")
    result = Trained(
        examples=len(rows),
        train_steps=progressed.steps_done,
        train_step=progressed.train_step,
        response_tokens=progressed.response_tokens,
        padding_ratio=progressed.padded_tokens / max(1, progressed.total_tokens),
        first_loss=progressed.first_loss,
        loss=progressed.loss,
    )
    work.folder.commit(result, [], _last_checkpoint(work, progressed) if rows else None)
    return result


def _last_checkpoint(work: Work, progressed: Progressed) -> tuple[str, Checkpoint]:
    """The one that training ended with; FileNotFoundError where somebody has deleted it."""
    newest = work.folder.newest_checkpoint()
    if newest is None or newest[1].done != progressed.steps_done:
        raise FileNotFoundError(errno.ENOENT, "the last checkpoint is gone", work.folder.prefix)
    return newest


def _lesson(
    work: Work, origin: str, selected: Sequence[Path], rows: Sequence[int], copies: ExitStack
) -> Lesson:
    """`copies` keeps the local folders as long as the lesson lasts."""
    newest = work.folder.newest_checkpoint()
    interrupted = copies.enter_context(work.run.storage.reading(newest[0])) if newest else None
    if newest:
        work.progress.note(f"training goes on after {newest[1].done} steps")
    inherits = work.config.train.inherit == "optimizer" and origin != FIRST_POLICY
    return Lesson(
        policy=copies.enter_context(work.run.policy_folder(origin, goes_on=inherits)),
        inherit_optimizer=inherits,
        interrupted=interrupted,
        problems=work.config.data.train,
        selected=tuple(selected),
        rows=tuple(rows),
        seed=derive_seed(work.config.seed, work.number, TRAIN.name),
        reading=Reading.of(work.config),
    )


def _left_out(work: Work) -> Collection[str]:
    """What checkpoints did not hold yet when a policy was made that is trained again: later stages were made
    from its manifest.
    """
    if work.folder.manifest is None:
        return ()
    return {PROBE, *PROCESSOR_FILES} - {file.rpartition("/")[2] for file in work.folder.manifest.files}


def _teach(work: Work, lesson: Lesson) -> Progressed:
    progressed = Progressed(0)
    total = planned_steps(work.config.train, len(lesson.rows))
    with (
        work.clock.inside(),
        work.progress.stage(TRAIN.name, work.iteration, total, "steps") as advance,
        saving_meanwhile(work.folder.write_checkpoint, _left_out(work)) as save_to,
    ):
        for now in build_trainer(work.run.local_config).train(lesson, save_to):
            advance(now.steps_done - progressed.steps_done)
            progressed = now
    return progressed


def planned_steps(config: Train, examples: int) -> int:
    """Optimizer steps of an iteration with so many selected responses."""
    return config.epochs * -(-examples // config.batch_size)


def _problem_rows(work: Work, selected: Sequence[Path]) -> list[int]:
    """The problem's row of each selected response, over all files in order."""
    ids = work.run.problems(work.config.data.train).ids
    row_of = {problem_id: row for row, problem_id in enumerate(ids)}
    tables = (pq.read_table(path, columns=["problem_id"]) for path in selected)
    return [row_of[problem_id] for table in tables for problem_id in table["problem_id"].to_pylist()]
