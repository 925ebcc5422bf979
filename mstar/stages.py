"""The six stages by name: the kind of result that each returns, and the version of its rules.

A version is raised when the same inputs and settings come to give other files. What is finished then stays as
it is; what is in hand is made anew.
"""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mstar.records import Decision, Report, Sampled, Scored, Selected, Trained

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Stage(Generic[Result]):
    """A stage; its name is also a function, a subcommand, a config section, a folder and a metric label."""

    name: str
    result: type[Result]
    version: int = 1


GENERATE = Stage("generate", Sampled, version=2)
SCORE = Stage("score", Scored, version=2)
SELECT = Stage("select", Selected)
TRAIN = Stage("train", Trained)
EVALUATE = Stage("evaluate", Report, version=2)
ADAPT = Stage("adapt", Decision)
STAGES: tuple[Stage[Any], ...] = (GENERATE, SCORE, SELECT, TRAIN, EVALUATE, ADAPT)
STAGE_NAMES = tuple(stage.name for stage in STAGES)


def stage_prefix(name: str, iteration: int | None) -> str:
    """The folder of a stage; `iteration` None is the start, before the first."""
    return f"start/{name}" if iteration is None else f"{iteration_prefix(iteration)}/{name}"


def iteration_prefix(iteration: int) -> str:
    return f"iterations/{iteration:03d}"


def part_names(count: int) -> list[str]:
    """The names of a stage's Parquet parts."""
    return [f"part-{number:05d}.parquet" for number in range(count)]
