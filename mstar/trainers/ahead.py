"""Problems of a lesson, read for many batches at once.

Batches are random draws, so read one by one each of them would go through most of a Parquet file. Here the
problems of as many batches as there is room for are read in one pass, in the order of the file.
"""

from collections.abc import Collection, Iterable, Sequence

from mstar.datasets import ProblemFile
from mstar.datasets.held import Held, problem_bytes
from mstar.records import Problem

AHEAD_BYTES = 1 << 29
"""Problems in memory for the batches to come, with the images that their rows embed."""
AT_ONCE = 64


class ProblemsAhead:
    """The problems of one file, some of which are in memory."""

    def __init__(self, problems: ProblemFile) -> None:
        self.problems = problems
        self.held = Held(0)
        self._bytes = self._read = 0

    def read(self, rows: Sequence[int]) -> list[Problem]:
        """The problems in these rows; cheapest when the numbers rise."""
        held = self.held.problems
        new = [row for row in rows if row not in held]
        read = dict(zip(new, self.problems.read(new), strict=True))
        self._read += len(read)
        self._bytes += sum(map(problem_bytes, read.values()))
        return [read[row] if row in read else held[row] for row in rows]

    def fill(self, batches: Iterable[Collection[int]]) -> int:
        """Take up the problems of the first of these batches, given by their rows, and forget those that were
        there. Returns how many batches there was room for by the mean size so far, one at the least; what
        turns out larger is left out, and will be read when it is asked for.
        """
        self.held = Held(AHEAD_BYTES)
        wanted, filled = self._fitting(batches)
        rows = sorted(wanted)
        for start in range(0, len(rows), AT_ONCE):
            own = rows[start : start + AT_ONCE]
            for row, problem in zip(own, self.read(own), strict=True):
                self.held.add(row, problem)
        return filled

    def _fitting(self, batches: Iterable[Collection[int]]) -> tuple[set[int], int]:
        """The rows of the batches that there is room for, and how many batches these are."""
        most = AHEAD_BYTES * self._read // max(1, self._bytes)
        wanted: set[int] = set()
        filled = 0
        for rows in batches:
            if filled and len(wanted) + len(rows) > most:
                break
            wanted.update(rows)
            filled += 1
        return wanted, filled
