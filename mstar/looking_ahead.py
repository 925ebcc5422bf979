"""Going through the iterations of a run, while the small files of the next ones are on their way.

A run of a thousand iterations has ten thousand of them, and in a bucket each is a request.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence

from mstar.rundir import STATE, RunDir
from mstar.stage_notes import MANIFEST, REMOVED, TIMING
from mstar.stages import GENERATE, iteration_prefix, stage_prefix

MOST_AHEAD = 64
"""Iterations; at the beginning fewer, as most runs have few."""
REPLAYED = (MANIFEST, REMOVED, STATE)
"""What the stages look at, where they are finished."""
TOLD = (MANIFEST, STATE, TIMING)
"""What a report is made from."""


def in_turn(
    run: RunDir, iterations: Iterable[int], names: Collection[str], folders: Sequence[str] = ()
) -> Iterator[int]:
    """These iterations, rising; the files of these `names` in the next ones are read ahead, where the run has
    not read them yet: those in some stages' `folders`, or in all.
    """
    first = folders[0] if folders else GENERATE.name
    expected: list[str] = []
    try:
        for iteration in iterations:
            coming = range(iteration, iteration + min(iteration + 1, MOST_AHEAD))
            unread = [number for number in coming if not run.has_read(stage_prefix(first, number), names)]
            if expected or unread:
                expected = [place for number in unread for place in _places(number, folders)]
                run.storage.expect(expected, names)
            yield iteration
    finally:
        if expected:
            run.storage.expect((), ())


def replayed(run: RunDir, iterations: range, finished: int) -> Iterator[int]:
    """The same for the stages of these iterations, of which so many are finished; those that are not are not
    looked into: somebody may be at work there.
    """
    yield from in_turn(run, iterations[:finished], REPLAYED)
    yield from iterations[finished:]


def _places(iteration: int, folders: Sequence[str]) -> list[str]:
    return [stage_prefix(name, iteration) for name in folders] or [iteration_prefix(iteration)]
