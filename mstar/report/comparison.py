"""The same problems before and after: greedy responses of the starting policy against those of the last one.

Only the first test set, which is the in-distribution one. Each problem is its own control, so the change in
accuracy is known far better here than from two separate intervals.
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
    change: Change
    gained: tuple[Pair, ...]
    lost: tuple[Pair, ...]


def compare(run: RunDir, history: History) -> Comparison | None:
    """Pair the responses to the first test set; None before an iteration has been evaluated."""
    test = next(iter(run.config.data.tests))
    evaluated = [turn for turn in history.iterations if turn.report and test in turn.report.tests]
    if not evaluated or history.start.report is None:
        return None
    iteration = evaluated[-1].iteration
    assert iteration is not None
    first, last = _read_test(run, None, test), _read_test(run, iteration, test)
    both = sorted(first.keys() & last.keys(), key=_shuffled)
    pairs = [Pair(first[problem], last[problem]) for problem in both]
    if not pairs:
        return None
    gained = tuple(pair for pair in pairs if pair.last.correct and not pair.first.correct)
    lost = tuple(pair for pair in pairs if pair.first.correct and not pair.last.correct)
    low, high = paired_interval(len(gained), len(lost), len(pairs))
    change = (len(gained) - len(lost)) / len(pairs)
    return Comparison(
        Change(test, iteration, change, low, high, len(pairs), len(gained), len(lost)), gained, lost
    )


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
