"""A plan as rows, one for each number that people are shown: in a terminal and in the report."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from mstar.plan.amounts import Amount, Need
from mstar.plan.arithmetic import Plan, StagePlan
from mstar.stages import EVALUATE, GENERATE, SCORE, SELECT, TRAIN

Unit = Literal["number", "bytes", "seconds"]
Shown = tuple[str, Unit, Callable[[Need], Amount | None]]
TOKENS: Shown = ("response tokens", "number", lambda need: need.response_tokens)
STEPS: Shown = ("optimizer steps", "number", lambda need: need.train_steps)
PARTS: Shown = ("parts", "bytes", lambda need: need.part_bytes)
TIME: Shown = ("time", "seconds", lambda need: need.seconds)


@dataclass(frozen=True, slots=True)
class Row:
    """What a stage, or all of them, takes of one thing."""

    stage: str
    what: str
    unit: Unit
    whole: Amount | None
    done: Amount | None


def rows_of(plan: Plan) -> list[Row]:
    """In the order of the stages, then what they take together; always the same rows."""
    return [row for name, stage in plan.stages.items() for row in _rows(name, stage, _shown(name))] + [
        *_rows("all", plan.total, [PARTS]),
        Row("all", "a checkpoint", "bytes", plan.checkpoint_bytes, None),
        Row("all", "checkpoints", "bytes", plan.checkpoints_bytes, None),
        *_rows("all", plan.total, [TIME]),
    ]


def _rows(name: str, stage: StagePlan, shown: list[Shown]) -> Iterator[Row]:
    for what, unit, read in shown:
        yield Row(name, what, unit, read(stage.whole), read(stage.done))


def _shown(name: str) -> list[Shown]:
    def responses(what: str) -> Shown:
        return (what, "number", lambda need: need.responses)

    return {
        GENERATE.name: [responses("responses"), TOKENS, PARTS, TIME],
        SCORE.name: [responses("responses judged"), PARTS, TIME],
        SELECT.name: [responses("responses kept"), PARTS, TIME],
        TRAIN.name: [responses("responses learned"), TOKENS, STEPS, TIME],
        EVALUATE.name: [responses("responses"), TOKENS, PARTS, TIME],
    }[name]
