"""A plan as text: an aligned table for `mstar plan`, and a line while a run goes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mstar.plan.amounts import Amount, Need
from mstar.plan.arithmetic import Plan, StagePlan
from mstar.report.wording import THIN, duration
from mstar.resources import amount
from mstar.stages import EVALUATE, GENERATE, SCORE, SELECT, TRAIN
from mstar.wording import counted

UNKNOWN = "not known"
Read = Callable[[Need], Amount | None]
Write = Callable[[float], str]
RESPONSES = {
    GENERATE.name: "responses",
    SCORE.name: "responses judged",
    SELECT.name: "responses kept",
    TRAIN.name: "responses learned",
    EVALUATE.name: "responses",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    stage: str
    what: str
    whole: Amount | None
    done: Amount | None
    write: Write

    def cells(self) -> tuple[str, ...]:
        if self.whole is None:
            return (self.stage, self.what, UNKNOWN, UNKNOWN, UNKNOWN, "")
        bounds = (self.whole.low, self.whole.expected, self.whole.high)
        written = [UNKNOWN if number is None else self.write(number) for number in bounds]
        done = self.done.expected if self.done else None
        return (self.stage, self.what, *written, "" if done is None else self.write(done))


def say_plan(plan: Plan) -> Iterator[str]:
    """The lines of `mstar plan`."""
    yield f"run {plan.name}: {_iterations(plan)}"
    yield ""
    header = ("", "", "at least", "expected", "at most", "done")
    table = [header, *(row.cells() for row in _rows(plan))]
    if not plan.finished_stages:
        table = [row[:-1] for row in table]
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    for row in table:
        named = (cell.ljust(width) for cell, width in zip(row[:2], widths, strict=False))
        numbers = (cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True))
        yield "  ".join([*named, *numbers]).rstrip()
    yield ""
    yield from _notes(plan)


def say_left(plan: Plan, first: Plan) -> str | None:
    """How far a run is, beside what its `first` plan was; None where hours are not known."""
    whole, left, planned = plan.total.whole.seconds, plan.total.left.seconds, first.total.whole.seconds
    if not (whole and left and planned) or None in (whole.expected, left.expected, planned.expected):
        return None
    said = f"{plan.finished_iterations} of {_count(plan.iterations.high)} iterations: "
    said += f"about {_time(left.expected)} left of {_time(whole.expected)}"
    if first.finished_iterations < plan.finished_iterations:
        said += (
            f"; after iteration {first.finished_iterations - 1} it was planned as {_time(planned.expected)}"
        )
    return said


def _rows(plan: Plan) -> Iterator[Row]:
    for name, stage in plan.stages.items():
        yield _row(name, RESPONSES[name], stage, lambda need: need.responses, _count)
        if name in (GENERATE.name, TRAIN.name, EVALUATE.name):
            yield _row("", "response tokens", stage, lambda need: need.response_tokens, _count)
        if name == TRAIN.name:
            yield _row("", "optimizer steps", stage, lambda need: need.train_steps, _count)
        else:
            yield _row("", "parts", stage, lambda need: need.part_bytes, _bytes)
        if stage.whole.seconds:
            yield _row("", "time", stage, lambda need: need.seconds, _time)
    yield _row("all", "parts", plan.total, lambda need: need.part_bytes, _bytes)
    yield Row("", "a checkpoint", plan.checkpoint_bytes, None, _bytes)
    yield Row("", "checkpoints", plan.checkpoints_bytes, None, _bytes)
    yield _row("", "time", plan.total, lambda need: need.seconds, _time)


def _row(name: str, what: str, stage: StagePlan, read: Read, write: Write) -> Row:
    return Row(name, what, read(stage.whole), read(stage.done), write)


def _iterations(plan: Plan) -> str:
    fewest, most = int(plan.iterations.low), int(plan.iterations.high)
    said = counted(most, "iterations") if fewest == most else f"{fewest} to {most} iterations"
    return f"{said}, {plan.finished_iterations} finished"


def _notes(plan: Plan) -> Iterator[str]:
    """What the numbers rest on."""
    origin, measured = plan.rates.origin, plan.rates.seconds_per_response
    if plan.total.whole.seconds:
        yield f"Expected: as measured on {origin}. Times hold for responses as long as those."
    elif measured:
        missing = ", ".join(name for name in plan.stages if name not in measured)
        yield f"Hours are not known: {origin} has measured nothing of {missing}; --trial does."
    else:
        yield "Hours are not known: nothing has been measured yet; --trial does, in about a minute."
    yield "At least: no response is right, each has one token. At most: as many are kept as can be, each has"
    yield "generate.max_tokens tokens. Problems that the model cannot read count as if it could."
    if plan.iterations.low < plan.iterations.high:
        yield "stop.stale_sweeps may end the run early; expected is that it does not."
    if plan.checkpoints_bytes:
        yield "Checkpoints: expected at the end of the run, at most at any time."


def _count(number: float) -> str:
    return f"{number:,.0f}"


def _bytes(size: float) -> str:
    return amount(size) if size else "0"


def _time(seconds: float | None) -> str:
    return duration(seconds).replace(THIN, " ")
