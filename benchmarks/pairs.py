"""Times two sides in turn, A B A B ..., in one process: ratios hold when the machine's speed drifts."""

import statistics
import time
from collections.abc import Callable

import mstar  # noqa: F401  (before torch: it says how threads wait)


def compare(
    names: tuple[str, str], sides: tuple[Callable[[], object], Callable[[], object]], pairs: int
) -> list[float]:
    """How many times faster the first side is, pair by pair; prints the spread of that and of both sides."""
    for side in sides:
        side()
    seconds = [[_time(side) for side in sides] for _ in range(pairs)]
    for name, column in zip(names, zip(*seconds, strict=True), strict=True):
        print(f"{name}: {spread(column)} s")
    ratios = [second / first for first, second in seconds]
    print(f"{names[0]} is faster than {names[1]} by {spread(ratios)} times")
    return ratios


def spread(values: list[float] | tuple[float, ...]) -> str:
    """Minimum, median and maximum."""
    return f"min {min(values):.3g}, median {statistics.median(values):.3g}, max {max(values):.3g}"


def _time(side: Callable[[], object]) -> float:
    start = time.perf_counter()
    side()
    return time.perf_counter() - start
