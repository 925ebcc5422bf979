"""Times two sides in turn, A B A B ..., in one process: ratios hold when the machine's speed drifts."""

import statistics
import time
from collections.abc import Callable, Iterator

import mstar  # noqa: F401  (before torch: it says how threads wait)

Side = Callable[[], object]
Steps = Callable[[], Iterator[object]]


def compare(names: tuple[str, str], sides: tuple[Side, Side], pairs: int) -> list[float]:
    """How many times faster the first side is, pair by pair; prints the spread of that and of both sides."""
    seconds = take_turns(dict(zip(names, sides, strict=True)), pairs)
    return print_ratios(names, seconds)


def take_turns(
    sides: dict[str, Side], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """The seconds of each side in each round, after one that does not count; prints their spread."""
    for side in sides.values():
        side()
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            found[name].append(timed(side, clock))
    for name, column in found.items():
        print(f"{name}: {spread(column)} s")
    return found


def compare_step_by_step(names: tuple[str, str], sides: tuple[Steps, Steps], pairs: int) -> list[float]:
    """`compare` for sides that do the same number of steps: they take turns after each of them, as the
    machine's speed changes within a pair too.
    """
    columns = zip(*[one_pair(sides) for _ in range(pairs + 1)][1:], strict=True)
    seconds = {name: list(column) for name, column in zip(names, columns, strict=True)}
    for name, column in seconds.items():
        print(f"{name}: {spread(column)} s")
    return print_ratios(names, seconds)


def one_pair(sides: tuple[Steps, Steps]) -> list[float]:
    """The seconds that each side takes."""
    by_step = zip(*map(timed_steps, sides), strict=True)
    return [sum(column) for column in zip(*by_step, strict=True)]


def timed_steps(side: Steps) -> Iterator[float]:
    """The seconds of each step of a side, and of what it does after the last."""
    start = time.perf_counter()
    for _ in side():
        yield time.perf_counter() - start
        start = time.perf_counter()
    yield time.perf_counter() - start


def print_ratios(names: tuple[str, str], seconds: dict[str, list[float]]) -> list[float]:
    """How many times faster the first of two sides is, round by round."""
    ratios = [second / first for first, second in zip(*(seconds[name] for name in names), strict=True)]
    print(f"{names[0]} is faster than {names[1]} by {spread(ratios)} times")
    return ratios


def spread(values: list[float] | tuple[float, ...]) -> str:
    """Minimum, median and maximum."""
    return f"min {min(values):.3g}, median {statistics.median(values):.3g}, max {max(values):.3g}"


def timed(side: Side, clock: Callable[[], float] = time.perf_counter) -> float:
    start = clock()
    side()
    return clock() - start
