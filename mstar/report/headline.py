"""What a run achieved in one sentence, and what it lost: for the page's first lines and the last printed one.

The first test set speaks for the run. Any other that fell, beyond the interval of its change, is named beside
it, because a policy that gets worse at something is news that a table hides.
"""

from dataclasses import dataclass

from mstar.report.comparison import Change
from mstar.report.summary import Measured, Summary, TestSummary

MOST_FALLEN = 3
"""Test sets that are named; of more there is the number."""


@dataclass(frozen=True, slots=True)
class Headline:
    test: str
    first: Measured
    last: Measured
    verb: str
    """What the accuracy did, as far as the measurement can tell."""
    change: Change | None


def find_headline(summary: Summary) -> Headline | None:
    """What the first test set says; None before anything has been measured."""
    for name, test in summary.tests.items():
        return _headline(name, test)
    return None


def others_fallen(summary: Summary) -> list[Headline]:
    """The test sets that fell, without the first one, which the headline is about; the worst first."""
    first = next(iter(summary.tests), None)
    fallen = [_headline(name, summary.tests[name]) for name in summary.fallen if name != first]
    return sorted(fallen, key=lambda one: one.last.accuracy - one.first.accuracy)


def say_headline(summary: Summary) -> str:
    """One line for a terminal; empty before anything has been measured."""
    headline = find_headline(summary)
    if headline is None:
        return ""
    others = others_fallen(summary)
    named = [f"{one.test} {_movement(one)}" for one in others[:MOST_FALLEN]]
    if len(others) > MOST_FALLEN:
        named.append(f"{len(others) - MOST_FALLEN} more")
    if headline.first.iteration == headline.last.iteration:
        return f"accuracy on {headline.test} is {headline.last.accuracy:.1%}"
    said = f"accuracy on {headline.test} {headline.verb} {_movement(headline)}"
    return f"{said}; it fell on {', '.join(named)}" if named else said


def _headline(name: str, test: TestSummary) -> Headline:
    verb, change = "went", test.change
    if change:
        verb = "rose" if change.low > 0 else "fell" if change.high < 0 else "changed within the noise,"
    elif test.fell:
        verb = "fell"
    return Headline(name, test.first, test.last, verb, change)


def _movement(headline: Headline) -> str:
    moved = f"from {headline.first.accuracy:.1%} to {headline.last.accuracy:.1%}"
    if headline.change is None:
        return moved
    change = headline.change
    points = f"{100 * change.change:+.1f} points [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"
    return f"{moved} ({points} on {change.problems} problems)"
