"""A plan as text: an aligned table for `mstar plan`, and a line while a run goes."""

from collections.abc import Iterator
from itertools import groupby

from mstar.plan.amounts import expected_of
from mstar.plan.arithmetic import Plan
from mstar.plan.forecast import plans_of
from mstar.plan.rows import Row, Unit, rows_of
from mstar.progress import Progress
from mstar.resources import amount
from mstar.rundir import RunDir
from mstar.wording import THIN, counted, duration

HEADER = ("", "", "at least", "expected", "at most", "done")
UNKNOWN = "not known"


def say_plan(plan: Plan) -> Iterator[str]:
    """The lines of `mstar plan`."""
    yield f"run {plan.name}: {_iterations(plan)}"
    yield ""
    table = [HEADER, *_table(plan)]
    if not plan.finished_stages:
        table = [row[:-1] for row in table]
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    for row in table:
        named = (cell.ljust(width) for cell, width in zip(row[:2], widths, strict=False))
        numbers = (cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True))
        yield "  ".join([*named, *numbers]).rstrip()
    yield ""
    yield from _notes(plan)


def tell_left(run: RunDir, progress: Progress) -> None:
    """A line on how far a run is, beside what its plan was; none where nothing has been measured."""
    if (plans := plans_of(run)) and (line := say_left(*plans)):
        progress.note(line)


def say_left(first: Plan, now: Plan) -> str | None:
    """How far a run is, beside what was planned at `first`; None where hours are not known."""
    whole, left, planned = (
        expected_of(seconds)
        for seconds in (now.total.whole.seconds, now.total.left.seconds, first.total.whole.seconds)
    )
    if whole is None or left is None or planned is None:
        return None
    turns = f"{now.finished_iterations} of {counted(int(now.iterations.high), 'iterations')}"
    said = f"{turns}: about {_write(left, 'seconds')} left of {_write(whole, 'seconds')}"
    if first.finished_iterations == now.finished_iterations:
        return said
    return f"{said}; planned after iteration {first.finished_iterations - 1}: {_write(planned, 'seconds')}"


def _table(plan: Plan) -> Iterator[tuple[str, ...]]:
    """Rows as text, a stage's name at its first one; without times of stages that have none."""
    for _, own in groupby(rows_of(plan), key=lambda row: row.stage):
        for place, row in enumerate(own):
            if row.whole or row.stage == "all":
                yield (row.stage if place == 0 else "", row.what, *_numbers(row))


def _numbers(row: Row) -> list[str]:
    bounds = (row.whole.low, row.whole.expected, row.whole.high) if row.whole else (None, None, None)
    done = expected_of(row.done)
    return [
        *(UNKNOWN if number is None else _write(number, row.unit) for number in bounds),
        "" if done is None else _write(done, row.unit),
    ]


def _write(number: float, unit: Unit) -> str:
    match unit:
        case "number":
            return f"{number:,.0f}"
        case "bytes":
            return amount(number) if number else "0"
        case "seconds":
            return duration(number).replace(THIN, " ")


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
