"""The page's tables of what the stages found, as texts: every iteration, and the sweeps in numbers.

Results are read here and not in the template, so that a field that is renamed is a type error.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mstar.records import Estimate, Sampled, Scored, Selected, TemperatureReport, Trained
from mstar.report.history import Turn
from mstar.report.summary import SweepSummary
from mstar.report.wording import count, decimal, interval, percent
from mstar.wording import DASH

Result = TypeVar("Result")
MOST_TEMPERATURES = 40
SAMPLED: dict[str, Callable[[Sampled], str]] = {
    "Problems": lambda found: count(found.problems),
    "Unusable": lambda found: count(len(found.unusable)),
    "Sampled": lambda found: count(found.responses),
    "Truncated": lambda found: count(found.truncated),
}
SCORED: dict[str, Callable[[Scored], str]] = {
    "Correct": lambda found: count(found.correct),
    "Checks timed out": lambda found: count(found.timed_out),
    "Checks failed": lambda found: count(found.failed),
    "Unusable for the PRM": lambda found: count(len(found.unusable)),
    "Mean reward": lambda found: decimal(found.mean_reward),
}
SELECTED: dict[str, Callable[[Selected], str]] = {
    "Duplicates": lambda found: count(found.duplicates),
    "Below threshold": lambda found: count(found.below_threshold),
    "Kept": lambda found: count(found.kept),
}
TRAINED: dict[str, Callable[[Trained], str]] = {
    "Examples": lambda found: count(found.examples),
    "Train steps": lambda found: count(found.train_steps),
    "First loss": lambda found: decimal(found.first_loss),
    "Loss": lambda found: decimal(found.loss),
}
COUNTED = (*SAMPLED, *SCORED, *SELECTED, *TRAINED)
"""Headings of the columns that come after the accuracies."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in one cell: a figure, what is smaller beside it, and what is smaller below it."""

    text: str
    beside: str = ""
    below: str = ""


@dataclass(frozen=True, slots=True)
class IterationRow:
    name: str
    finished: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class SweepTable:
    iteration: int | None
    problems: int
    samples_per_problem: int
    headings: tuple[str, ...]
    rows: dict[str, tuple[Cell, ...]]
    """By temperature, as it is written."""


def iteration_rows(turns: Sequence[Turn], tests: Sequence[str]) -> list[IterationRow]:
    """The temperature, the accuracy on each of `tests`, and what `COUNTED` names, for the start and every
    iteration.
    """
    return [
        IterationRow(
            "start" if turn.iteration is None else str(turn.iteration),
            turn.iteration is None or turn.finished,
            tuple(_iteration_cells(turn, tests)),
        )
        for turn in turns
    ]


def sweep_table(sweep: SweepSummary, reward_pass_k: int, has_reward: bool) -> SweepTable:
    """A sweep, with a column for Reward-Pass@k where there is a process reward model."""
    first = sweep.temperatures[0]
    reward = (f"Reward-Pass@{reward_pass_k}",) if has_reward else ()
    return SweepTable(
        sweep.iteration,
        first.balance.problems,
        first.samples_per_problem,
        ("T", *(f"Pass@{k}" for k in first.pass_at_k), *reward, "Balance"),
        {
            f"{row.temperature:g}": tuple(_sweep_cells(row, has_reward))
            for row in sweep.temperatures[:MOST_TEMPERATURES]
        },
    )


def _iteration_cells(turn: Turn, tests: Sequence[str]) -> Iterator[Cell]:
    yield Cell(DASH if turn.temperature is None else f"{turn.temperature:g}")
    measured = turn.report.tests if turn.report else {}
    for name in tests:
        yield _estimate(measured[name].accuracy if name in measured else None)
    yield from _read(turn.sampled, SAMPLED)
    yield from _read(turn.scored, SCORED)
    yield from _read(turn.selected, SELECTED)
    yield from _read(turn.trained, TRAINED)


def _read(found: Result | None, columns: Mapping[str, Callable[[Result], str]]) -> Iterator[Cell]:
    return (Cell(DASH if found is None else read(found)) for read in columns.values())


def _sweep_cells(row: TemperatureReport, has_reward: bool) -> Iterator[Cell]:
    for k, passed in row.pass_at_k.items():
        unbiased = row.unbiased_pass_at_k.get(k)
        yield _estimate(passed, percent(unbiased.value) if unbiased else "")
    if has_reward:
        yield _estimate(row.reward_pass_at_k)
    balance = row.balance
    yield Cell(f"{balance.value:.3f}", f"{balance.low:.3f}{DASH}{balance.high:.3f}")


def _estimate(found: Estimate | None, below: str = "") -> Cell:
    return Cell(percent(found.value), interval(found), below) if found else Cell(DASH)
