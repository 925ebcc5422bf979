"""The same problems before and after: greedy responses of the starting policy against those of the last one.

Each problem is its own control, so the change in accuracy is known far better here than from two separate
intervals. Every test set has its change; a few pairs of responses are kept of the first, in-distribution one.
What is in memory of a whole test set is ids and verdicts, as columns.
"""

import hashlib
import heapq
import math
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mstar.errors import UserError
from mstar.estimates import Z
from mstar.evaluation import REST
from mstar.records import Response
from mstar.report.history import History
from mstar.response_parts import read_response
from mstar.rundir import Finished, RunDir
from mstar.stages import EVALUATE

MOST_GAINED, MOST_LOST = 8, 2
"""Pairs that are kept with their responses."""


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
    """The first few, in an order that has nothing to do with the responses."""


class Answers:
    """What one policy answered to a test set: ids and verdicts in memory, responses where they lie."""

    def __init__(self, parts: Sequence[tuple[Finished, str]], tables: Sequence[pa.Table]) -> None:
        self.ids = _column(tables, "problem_id", pa.string())
        self.correct = _column(tables, "correct", pa.bool_()).fill_null(False)
        self._parts = parts
        self._ends = list(accumulate(table.num_rows for table in tables))

    def response(self, place: int) -> Response:
        """The one at a place among the ids."""
        part = bisect_right(self._ends, place)
        finished, name = self._parts[part]
        with finished.reading(name) as path:
            return read_response(path, place - (self._ends[part - 1] if part else 0))


def compare(run: RunDir, history: History) -> Comparison:
    """Pair the responses to every test set, of the start and of the last iteration that measured it."""
    changes, first = {}, next(iter(run.config.data.tests))
    kept: list[tuple[Pair, ...]] = []
    for test in run.config.data.tests:
        iteration = _last_measured(history, test)
        if iteration is None:
            continue
        before, now = _read_answers(run, None, test), _read_answers(run, iteration, test)
        paired = pc.index_in(now.ids, value_set=before.ids)
        was_correct = before.correct.take(paired)
        won = pc.indices_nonzero(pc.and_not(now.correct, was_correct)).to_pylist()
        given = pc.indices_nonzero(pc.and_not(was_correct, now.correct)).to_pylist()
        problems = len(paired) - paired.null_count
        if problems:
            changes[test] = _change(test, iteration, (len(won), len(given), problems))
        if test == first:
            chosen = (won, MOST_GAINED), (given, MOST_LOST)
            kept = [_pairs(before, now, paired, places, most) for places, most in chosen]
    return Comparison(changes, *kept)


def _last_measured(history: History, test: str) -> int | None:
    """The last iteration that measured a test set; None where that or the start did not."""
    measured = [turn.iteration for turn in history.turns if turn.report and test in turn.report.tests]
    return measured[-1] if len(measured) > 1 and measured[0] is None else None


def _pairs(
    before: Answers, now: Answers, paired: pa.ChunkedArray, places: Sequence[int], most: int
) -> tuple[Pair, ...]:
    """At most so many of the problems at these places of `now`; `paired` says where in `before` each is."""
    ids = now.ids.take(pa.array(places, pa.int64())).to_pylist()
    chosen = heapq.nsmallest(most, zip(ids, places, strict=True), key=_shuffled)
    return tuple(Pair(before.response(paired[place].as_py()), now.response(place)) for _, place in chosen)


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


def _read_answers(run: RunDir, iteration: int | None, test: str) -> Answers:
    """Without those that have been cleared away."""
    parts, tables = [], []
    for folder in (EVALUATE.name, REST):
        if not run.is_finished(folder, iteration):
            continue
        finished = run.finished(EVALUATE, iteration, folder)
        for part in (name for name in finished.parts if name.startswith(f"test-{test}/")):
            with suppress(UserError), finished.reading(part) as path, pq.ParquetFile(path) as file:
                tables.append(file.read(["problem_id", "correct"]))
                parts.append((finished, part))
    return Answers(parts, tables)


def _column(tables: Sequence[pa.Table], name: str, kind: pa.DataType) -> pa.ChunkedArray:
    return pa.chunked_array([chunk for table in tables for chunk in table[name].chunks], kind)


def _shuffled(known: tuple[str, int]) -> str:
    """An order that is the same every time and has nothing to do with the responses."""
    return hashlib.sha256(known[0].encode("utf-8", "replace")).hexdigest()
