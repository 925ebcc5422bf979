"""The same problems before and after: greedy responses of the starting policy against those of the last one.

Each problem is its own control, so the change in accuracy is known far better here than from two separate
intervals. Every test set has its change; pairs of responses are kept of the first, in-distribution one.
"""

import hashlib
import math
from contextlib import suppress
from dataclasses import dataclass

from mstar.errors import UserError
from mstar.estimates import Z
from mstar.evaluation import REST
from mstar.records import Response, read_responses
from mstar.report.history import History
from mstar.rundir import RunDir
from mstar.stages import EVALUATE


@dataclass(frozen=True, slots=True)
class Change:
    """The change in accuracy on the problems that both policies answered, with its paired 95 % interval."""

    test: str
    iteration: int
    """The policy after this iteration, against the one that the run started from."""
    change: float
    low: float
    high: float
    problems: int
    gained: int
    """Wrong at the start, right now."""
    lost: int
    """Right at the start, wrong now."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One problem's greedy responses at the start and after the last evaluated iteration."""

    first: Response
    last: Response


@dataclass(frozen=True, slots=True)
class Comparison:
    changes: dict[str, Change]
    """By test set; those that were measured twice and whose responses are still there."""
    gained: tuple[Pair, ...] = ()
    lost: tuple[Pair, ...] = ()


def compare(run: RunDir, history: History) -> Comparison:
    """Pair the responses to every test set, of the start and of the last iteration that measured it."""
    changes, first = {}, next(iter(run.config.data.tests))
    gained, lost = [], []
    for test in run.config.data.tests:
        iteration = _last_measured(history, test)
        pairs = [] if iteration is None else _pair(run, iteration, test)
        won = [pair for pair in pairs if pair.last.correct and not pair.first.correct]
        given = [pair for pair in pairs if pair.first.correct and not pair.last.correct]
        if iteration is not None and pairs:
            changes[test] = _change(test, iteration, (len(won), len(given), len(pairs)))
        if test == first:
            gained, lost = won, given
    return Comparison(changes, tuple(gained), tuple(lost))


def _last_measured(history: History, test: str) -> int | None:
    """The last iteration that measured a test set; None where that or the start did not."""
    measured = [turn.iteration for turn in history.turns if turn.report and test in turn.report.tests]
    return measured[-1] if len(measured) > 1 and measured[0] is None else None


def _pair(run: RunDir, iteration: int, test: str) -> list[Pair]:
    first, last = _read_test(run, None, test), _read_test(run, iteration, test)
    return [Pair(first[one], last[one]) for one in sorted(first.keys() & last.keys(), key=_shuffled)]


def _change(test: str, iteration: int, counts: tuple[int, int, int]) -> Change:
    gained, lost, problems = counts
    low, high = paired_interval(gained, lost, problems)
    return Change(test, iteration, (gained - lost) / problems, low, high, problems, gained, lost)


def paired_interval(gained: int, lost: int, problems: int) -> tuple[float, float]:
    """95 % interval of (gained - lost) / problems for paired outcomes.

    Wald's, after half a problem has been added to each of the four cells (Agresti and Min 2005): an interval
    of some width even where nothing changed.
    """
    total = problems + 2
    discordant, difference = gained + lost + 1, gained - lost
    middle = difference / total
    reach = Z * math.sqrt(discordant - difference**2 / total) / total
    value = difference / problems
    return max(-1.0, min(middle - reach, value)), min(1.0, max(middle + reach, value))


def _read_test(run: RunDir, iteration: int | None, test: str) -> dict[str, Response]:
    """The responses by problem; empty where they have been cleared away."""
    found: dict[str, Response] = {}
    for folder in (EVALUATE.name, REST):
        if not run.is_finished(folder, iteration):
            continue
        finished = run.finished(EVALUATE, iteration, folder)
        for part in (name for name in finished.parts if name.startswith(f"test-{test}/")):
            with suppress(UserError), finished.reading(part) as path:
                found |= {response.problem_id: response for response in read_responses(path)}
    return found


def _shuffled(problem_id: str) -> str:
    """An order that is the same every time and has nothing to do with the responses."""
    return hashlib.sha256(problem_id.encode("utf-8", "replace")).hexdigest()
