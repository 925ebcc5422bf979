"""What was planned after the first iteration, beside what is done and what is expected now."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from mstar.plan.amounts import expected_of
from mstar.plan.arithmetic import Plan
from mstar.plan.rows import Row, Unit, rows_of
from mstar.report.wording import count, memory
from mstar.wording import DASH, duration


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One number of a plan, as it is written."""

    stage: str
    what: str
    planned: str
    done: str
    expected: str
    bounds: str
    """Of all; empty where it is settled."""


def plan_rows(first: Plan, now: Plan) -> list[PlanRow]:
    """Row by row; without those of which nothing has been measured."""
    pairs = zip(rows_of(first), rows_of(now), strict=True)
    return [_plan_row(before, row) for before, row in pairs if row.whole and row.whole.expected is not None]


def by_stage(rows: Iterable[PlanRow]) -> dict[str, list[PlanRow]]:
    """The rows of each stage, in order."""
    return {stage: list(own) for stage, own in groupby(rows, key=lambda row: row.stage)}


def _plan_row(before: Row, now: Row) -> PlanRow:
    assert now.whole
    low, high = (_write(bound, now.unit) for bound in (now.whole.low, now.whole.high))
    return PlanRow(
        stage=now.stage,
        what=now.what,
        planned=_write(expected_of(before.whole), now.unit),
        done=_write(expected_of(now.done), now.unit),
        expected=_write(now.whole.expected, now.unit),
        bounds="" if low == high else f"{low} to {high}",
    )


def _write(number: float | None, unit: Unit) -> str:
    if number is None:
        return DASH
    match unit:
        case "number":
            return count(number)
        case "bytes":
            return memory(round(number))
        case "seconds":
            return duration(number)
