"""The train stage: fine-tune the policy on the selected responses.

What is carried over from one iteration to the next is `train.inherit` (arXiv 2412.17451, section 3):
everything, only the weights, or nothing, where nothing means the first policy again and every response
selected so far.
"""

import dataclasses
from contextlib import AbstractContextManager
from pathlib import Path

import pyarrow.parquet as pq

from mstar.config import Train
from mstar.datasets import ProblemFile, open_problems
from mstar.generation import sampled_with
from mstar.progress import QUIET, Progress
from mstar.rundir import CHECKPOINT, RunDir
from mstar.seeds import derive_seed
from mstar.selection import SELECTED
from mstar.stagedir import StageDir
from mstar.timing import StageClock, stage_clock
from mstar.trainers import Example, Lesson, Progressed, build_trainer


@dataclasses.dataclass(slots=True)
class TrainingFacts:
    """What the training of one iteration amounted to."""

    examples: int
    train_steps: int = 0
    train_step: int = 0
    response_tokens: int = 0
    padding_ratio: float = 0.0
    first_loss: float | None = None
    loss: float | None = None

    def add(self, progressed: Progressed, padded: int, total: int) -> None:
        self.train_steps += 1
        self.train_step = progressed.train_step
        self.response_tokens += progressed.response_tokens
        self.padding_ratio = padded / total
        self.first_loss = progressed.loss if self.first_loss is None else self.first_loss
        self.loss = progressed.loss


def train(run: RunDir, iteration: int, progress: Progress = QUIET) -> None:
    """Train on what the iteration selected, and leave a checkpoint; with nothing selected, leave none."""
    config, state = run.config, run.state(iteration)
    inherit = config.train.inherit
    origin = run.state(0).policy if inherit == "none" else state.policy
    iterations = range(iteration + 1) if inherit == "none" else range(iteration, iteration + 1)
    made_from = {
        **sampled_with(config),
        "train": config.train.model_dump(mode="json"),
        "seed": state.seed,
        "policy": run.policy_identity(origin),
        "inputs": {str(number): run.inputs(number, "select")["select"] for number in iterations},
    }
    stage = run.stage("train", iteration, made_from)
    if stage.done:
        return
    problems = open_problems(config.data.train)
    lesson = Lesson(
        policy=run.policy_folder(origin),
        inherit_optimizer=inherit == "optimizer" and origin != run.state(0).policy,
        interrupted=stage.path(CHECKPOINT) if stage.has(CHECKPOINT) else None,
        examples=read_examples(run, iterations, problems),
        read_problems=problems.read,
        seed=derive_seed(state.seed, iteration, "train"),
    )
    with stage_clock(run, "train", iteration) as clock:
        facts = _train(run, iteration, stage, lesson, (clock, progress))
        stage.commit(lambda: dataclasses.asdict(facts))


def _train(
    run: RunDir, iteration: int, stage: StageDir, lesson: Lesson, watch: tuple[StageClock, Progress]
) -> TrainingFacts:
    clock, progress = watch
    facts = TrainingFacts(len(lesson.examples))
    if not lesson.examples:
        progress.note(f"iteration {iteration} selected no response: the policy stays as it is")
        return facts
    padded = total = 0

    def save_to() -> AbstractContextManager[Path]:
        return stage.write_part(CHECKPOINT)

    with clock.inside():
        steps = build_trainer(run.config).train(lesson, save_to)
        with progress.stage("train", iteration, planned_steps(run.config.train, lesson), "steps") as advance:
            for progressed in steps:
                padded, total = padded + progressed.padded_tokens, total + progressed.total_tokens
                facts.add(progressed, padded, total)
                advance(1)
    return facts


def planned_steps(config: Train, lesson: Lesson) -> int:
    """Optimizer steps of the whole iteration."""
    return config.epochs * -(-len(lesson.examples) // config.batch_size)


def read_examples(run: RunDir, iterations: range, problems: ProblemFile) -> list[Example]:
    """The selected responses of some iterations, oldest first."""
    row_of = {problem_id: row for row, problem_id in enumerate(problems.ids)}
    examples = []
    for iteration in iterations:
        table = pq.read_table(run.stage_file("select", iteration, SELECTED), columns=["problem_id", "text"])
        for problem_id, text in zip(
            *(table[name].to_pylist() for name in ("problem_id", "text")), strict=True
        ):
            examples.append(Example(row_of[problem_id], text))
    return examples
