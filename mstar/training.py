"""The train stage: fine-tune the policy on the selected responses.

What is carried over from one iteration to the next is `train.inherit` (arXiv 2412.17451, section 3):
everything, only the weights, or nothing, where nothing means the first policy again and every response
selected so far.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mstar.config import Train
from mstar.datasets import ProblemFile
from mstar.generation import sampled_with
from mstar.progress import QUIET, Progress
from mstar.rundir import CHECKPOINT, FIRST_POLICY, RunDir
from mstar.seeds import derive_seed
from mstar.selection import SELECTED
from mstar.stagedir import StageDir
from mstar.timing import StageClock, stage_clock
from mstar.trainers import Lesson, Progressed, build_trainer


def train(run: RunDir, iteration: int, progress: Progress = QUIET) -> None:
    """Train on what the iteration selected, and leave a checkpoint; with nothing selected, leave none."""
    config, state = run.config, run.state(iteration)
    inherit = config.train.inherit
    origin = FIRST_POLICY if inherit == "none" else state.policy
    iterations = range(iteration + 1) if inherit == "none" else range(iteration, iteration + 1)
    made_from = {
        **sampled_with(config),
        "train": config.train.model_dump(mode="json", exclude={"tokens_per_micro_batch", "checkpoint_every"}),
        "seed": state.seed,
        "policy": run.policy_identity(origin),
        "inputs": {str(number): run.inputs(number, "select")["select"] for number in iterations},
    }
    stage = run.stage("train", iteration, made_from)
    if stage.done:
        return
    selected, rows = selected_responses(run, iterations, run.problems(config.data.train))
    lesson = Lesson(
        policy=run.policy_folder(origin),
        inherit_optimizer=inherit == "optimizer" and origin != FIRST_POLICY,
        interrupted=stage.path(CHECKPOINT) if stage.has(CHECKPOINT) else None,
        problems=config.data.train,
        selected=selected,
        rows=rows,
        seed=derive_seed(state.seed, iteration, "train"),
    )
    with stage_clock(run, "train", iteration) as clock:
        progressed = _train(run, iteration, stage, lesson, (clock, progress))
        stage.commit(lambda: facts_of(lesson, progressed))


def _train(
    run: RunDir, iteration: int, stage: StageDir, lesson: Lesson, watch: tuple[StageClock, Progress]
) -> Progressed:
    clock, progress = watch
    progressed = Progressed(0)
    if not lesson.rows:
        progress.note(f"iteration {iteration} selected no response: the policy stays as it is")
        return progressed

    def save_to(steps_done: int) -> AbstractContextManager[Path]:
        return stage.write_part(CHECKPOINT)

    total = planned_steps(run.config.train, lesson)
    with clock.inside(), progress.stage("train", iteration, total, "steps") as advance:
        for now in build_trainer(run.config).train(lesson, save_to):
            advance(now.steps_done - progressed.steps_done)
            progressed = now
    return progressed


def facts_of(lesson: Lesson, progressed: Progressed) -> dict[str, Any]:
    """What the training of one iteration amounted to; the same whether it was killed on the way or not."""
    return {
        "examples": len(lesson.rows),
        "train_steps": progressed.steps_done,
        "train_step": progressed.train_step,
        "response_tokens": progressed.response_tokens,
        "padding_ratio": progressed.padded_tokens / max(1, progressed.total_tokens),
        "first_loss": progressed.first_loss,
        "loss": progressed.loss,
    }


def planned_steps(config: Train, lesson: Lesson) -> int:
    """Optimizer steps of the whole iteration."""
    return config.epochs * -(-len(lesson.rows) // config.batch_size)


def selected_responses(
    run: RunDir, iterations: range, problems: ProblemFile
) -> tuple[tuple[Path, ...], tuple[int, ...]]:
    """The files of the selected responses of some iterations, oldest first, and their problems' rows."""
    row_of = {problem_id: row for row, problem_id in enumerate(problems.ids)}
    files = tuple(run.stage_file("select", iteration, SELECTED) for iteration in iterations)
    ids = (pq.read_table(file, columns=["problem_id"])["problem_id"].to_pylist() for file in files)
    return files, tuple(row_of[problem_id] for own in ids for problem_id in own)
