"""The six stages by name: the kind of result that each returns, the version of its rules, and how shards
share its parts.

A version is raised when the same inputs and settings come to give other files. What is finished then stays as
it is; what is in hand is made anew.
"""

import re
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mstar.errors import UserError
from mstar.records import Decision, Report, Sampled, Scored, Selected, Trained

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Stage(Generic[Result]):
    """A stage; its name is also a function, a subcommand, a config section, a folder and a metric label."""

    name: str
    result: type[Result]
    version: int = 1


GENERATE = Stage("generate", Sampled, version=2)
SCORE = Stage("score", Scored, version=6)
SELECT = Stage("select", Selected)
TRAIN = Stage("train", Trained)
EVALUATE = Stage("evaluate", Report, version=6)
ADAPT = Stage("adapt", Decision)
STAGES: tuple[Stage[Any], ...] = (GENERATE, SCORE, SELECT, TRAIN, EVALUATE, ADAPT)
STAGE_NAMES = tuple(stage.name for stage in STAGES)


@dataclass(frozen=True, slots=True)
class Shard:
    """The `index`-th of `count` disjoint shares of a stage's parts, counted from 1."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UserError(f"--shard is {text}; write K/N with 1 <= K <= N, such as 2/8")
        return cls(int(found[1]), int(found[2]))

    def owns(self, part: int) -> bool:
        return part % self.count == self.index - 1


WHOLE = Shard()


def stage_prefix(name: str, iteration: int | None) -> str:
    """The folder of a stage; `iteration` None is the start, before the first."""
    return f"start/{name}" if iteration is None else f"{iteration_prefix(iteration)}/{name}"


def iteration_prefix(iteration: int) -> str:
    return f"iterations/{iteration:03d}"


def iteration_of(prefix: str) -> int | None:
    """The iteration that a stage's folder belongs to; None for the start."""
    place = prefix.split("/")
    return int(place[1]) if place[0] == "iterations" else None


def part_names(count: int) -> list[str]:
    """The names of a stage's Parquet parts."""
    return [f"part-{number:05d}.parquet" for number in range(count)]
