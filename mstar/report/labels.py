"""Where labels go in a chart, so that they cover neither each other nor the lines that they name.

Plain geometry in pixels; y grows downwards, and a label's y is its baseline.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LINE_HEIGHT = 15
CHARACTER = 7.0
"""Width that a character of a label may take."""
ASCENT, DESCENT = 10.0, 3.0
"""What a label takes above and below its baseline."""
CLEAR = 2.5
"""What must stay free between a label and a line."""
FARTHEST = 48

Place = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Room:
    """The part of a picture that a label may take."""

    right: float
    top: float
    bottom: float

    def holds(self, place: Place, text: str) -> bool:
        x, y = place
        inside = self.top <= y - ASCENT and y + DESCENT <= self.bottom
        return inside and x + len(text) * CHARACTER <= self.right


def spread(places: Sequence[float], top: float, bottom: float) -> list[float]:
    """The same places, moved apart so that labels do not cover each other."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = [max(top, min(bottom, place)) for place in places]
    for above, below in zip(order, order[1:], strict=False):
        moved[below] = max(moved[below], moved[above] + LINE_HEIGHT)
    limit = bottom + LINE_HEIGHT
    for index in reversed(order):
        limit = moved[index] = min(moved[index], limit - LINE_HEIGHT)
    return moved


def place_first(text: str, line: Sequence[Place], band: tuple[float, float], room: Room) -> Place | None:
    """Where the label of a line's first point goes; None where there is no room beside the line.

    Below the `band` (top and bottom of the interval at that point) where the line rises, above it where it
    falls; else the nearest place that the line does not cross.
    """
    x, y = line[0]
    below, above = (x - 4, band[1] + LINE_HEIGHT), (x - 4, band[0] - 6)
    preferred = [below, above] if line[1][1] <= y else [above, below]
    free = (place for place in (*preferred, *_around(x, y)) if room.holds(place, text))
    return next((place for place in free if not crosses(line, place, text)), None)


def crosses(line: Sequence[Place], place: Place, text: str) -> bool:
    """Whether a line runs through a label, or so close that it looks like it."""
    left, right = place[0] - CLEAR, place[0] + len(text) * CHARACTER + CLEAR
    top, bottom = place[1] - ASCENT - CLEAR, place[1] + DESCENT + CLEAR
    return any(
        _overlaps(start, end, (left, right), (top, bottom))
        for start, end in zip(line, line[1:], strict=False)
        if end[0] >= left and start[0] <= right
    )


def _overlaps(start: Place, end: Place, across: Place, down: Place) -> bool:
    """Whether a segment that runs from left to right enters a box."""
    (x0, y0), (x1, y1) = start, end
    if x1 == x0:
        return min(y0, y1) <= down[1] and max(y0, y1) >= down[0]
    slope = (y1 - y0) / (x1 - x0)
    ends = [y0 + slope * (min(max(x, x0), x1) - x0) for x in across]
    return min(ends) <= down[1] and max(ends) >= down[0]


def _around(x: float, y: float) -> Iterator[Place]:
    """Places near a point, the nearest first."""
    middle = y + (ASCENT - DESCENT) / 2
    offsets = [(dx, dy) for dx in (-4, *range(6, FARTHEST, 3)) for dy in range(-FARTHEST, FARTHEST, 3)]
    offsets.sort(key=lambda offset: (offset[0] ** 2 + offset[1] ** 2, offset))
    return ((x + dx, middle + dy) for dx, dy in offsets)
