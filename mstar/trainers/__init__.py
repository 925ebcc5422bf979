"""What fine-tunes a policy: the Trainer protocol and its one factory."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mstar.config import Config
from mstar.records import Problem

SaveTo = Callable[[], AbstractContextManager[Path]]
"""Opens a path for a checkpoint folder; the checkpoint counts when the block has ended."""


@dataclass(frozen=True, slots=True)
class Example:
    """A response to learn, and the row of its problem among the training problems."""

    row: int
    text: str


@dataclass(frozen=True)
class Lesson:
    """What one iteration's training starts from and learns."""

    policy: Path
    """Checkpoint whose weights are trained."""
    inherit_optimizer: bool
    """Whether Adam's moments, the schedule and the step count of that checkpoint go on."""
    interrupted: Path | None
    """Checkpoint of this very lesson, saved before it was killed."""
    examples: Sequence[Example]
    read_problems: Callable[[Sequence[int]], list[Problem]]
    """Loads the problems of some rows."""
    seed: int


@dataclass(frozen=True, slots=True)
class Progressed:
    """How far a lesson has come; kept in its checkpoints, so that it counts across kills."""

    train_step: int
    """Optimizer steps so far, over all iterations whose optimizer was inherited."""
    steps_done: int = 0
    """Optimizer steps of this lesson."""
    loss: float | None = None
    """Mean negative log-likelihood per response token of the last batch, before its step."""
    first_loss: float | None = None
    response_tokens: int = 0
    padded_tokens: int = 0
    """Padding in the micro-batches of this lesson."""
    total_tokens: int = 0
    """All tokens of those micro-batches, padding included."""


class Trainer(Protocol):
    def train(self, lesson: Lesson, save_to: SaveTo) -> Iterator[Progressed]:
        """Train on every example `train.epochs` times; saves checkpoints, the last one at the end.

        Yields how far the lesson has come: at the beginning, and after every optimizer step.
        A checkpoint is a folder that `from_pretrained` loads, with the optimizer's state beside the weights.
        """


def build_trainer(config: Config) -> Trainer:
    """The trainer of `train.trainer`."""
    match config.train.trainer:
        case "single":
            from mstar.trainers.single import SingleTrainer

            return SingleTrainer(config)
