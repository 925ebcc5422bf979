"""What fine-tunes a policy: the Trainer protocol and its one factory.

A lesson is data: paths and numbers, so that it can be written down and handed to another process. Whoever
trains it opens the files that it names. One module each: batches (which responses make a batch and a
micro-batch), rows (a lesson as tokens and labels; ahead reads its problems), losses (what is minimised,
behind one forward), learning (the optimizer's steps, for any loss), optimizers (which there are), checkpoint
(what is left, and what goes on; tensor_file is how its largest part is written, probing tells its weights
from others), single (one process), deepspeed (several: ranks starts and watches them, deepspeed_rank is what
each does, shares who learns what, zero what DeepSpeed does).
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mstar.config import Config
from mstar.datasets import Reading

SaveTo = Callable[[int], AbstractContextManager[Path]]
"""Opens a path for the checkpoint folder after that many steps of the lesson; the checkpoint counts when the
block has ended.
"""


@dataclass(frozen=True)
class Lesson:
    """What one iteration's training starts from and learns."""

    policy: Path
    """Checkpoint whose weights are trained."""
    inherit_optimizer: bool
    """Whether Adam's moments, the schedule and the step count of that checkpoint go on."""
    interrupted: Path | None
    """Checkpoint of this very lesson, saved before it was killed."""
    problems: str
    """Path or address of the problem file."""
    selected: tuple[Path, ...]
    """Parquet files of the responses to learn (columns problem_id and text), oldest first."""
    rows: tuple[int, ...]
    """The row of each response's problem in the problem file, over all files in order."""
    seed: int
    reading: Reading = Reading()
    """How that file is read."""


@dataclass(frozen=True, slots=True)
class Progressed:
    """How far a lesson has come; kept in its checkpoints, so that it counts across kills."""

    train_step: int
    """Optimizer steps so far, over all iterations whose optimizer was inherited."""
    steps_done: int = 0
    """Optimizer steps of this lesson."""
    loss: float | None = None
    """Mean loss per label (negative log-likelihood per response token) of the last batch, before its step."""
    first_loss: float | None = None
    response_tokens: int = 0
    """Labels learned so far."""
    padded_tokens: int = 0
    """Padding in the micro-batches of this lesson."""
    total_tokens: int = 0
    """All tokens of those micro-batches, padding included."""


class Trainer(Protocol):
    def train(self, lesson: Lesson, save_to: SaveTo) -> Iterator[Progressed]:
        """Train on every response `train.epochs` times; saves checkpoints, the last one at the end.

        Yields how far the lesson has come: at the beginning, and after every optimizer step.
        A checkpoint is a folder that `from_pretrained` loads; the optimizer's state is in a folder inside it.
        """


def build_trainer(config: Config) -> Trainer:
    """The trainer of `train.trainer`."""
    match config.train.trainer:
        case "single":
            from mstar.trainers.single import SingleTrainer

            return SingleTrainer(config)
        case "deepspeed":
            from mstar.trainers.deepspeed import DeepspeedTrainer

            return DeepspeedTrainer(config)
