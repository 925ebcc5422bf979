"""Small line and bar charts as inline SVG: plain numbers in, markup out.

Drawn here rather than by a plotting library because the report is made inside the run's own wall clock:
importing matplotlib alone takes longer than all of it. Colours are classes of the page's style sheet, so that
dark mode and print work; text is text, in the page's own fonts; the same numbers always give the same markup.
One unit is one CSS pixel on a phone. Lines are labelled at their ends, not in legends.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape

from mstar.report.labels import CHARACTER, Room, place_first, spread

INSET = 10
"""Pixels between the frame and the first and last x."""


@dataclass(frozen=True, slots=True)
class Point:
    x: float
    y: float
    low: float | None = None
    high: float | None = None
    """The interval, where there is one."""


@dataclass(frozen=True, slots=True)
class Line:
    points: tuple[Point, ...]
    colour: str
    """A class of the style sheet, such as `blue`."""
    label: str = ""
    """Written to the right of the last point."""
    first_label: str = ""
    """Written next to the first point."""


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    parts: tuple[tuple[str, float], ...]
    """(colour, height), from the bottom up."""


@dataclass(frozen=True, slots=True)
class Axis:
    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the plot lies inside the picture, in pixels, and what its axes span."""

    x: Axis
    y: Axis
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float

    def place_x(self, value: float) -> float:
        share = (value - self.x.low) / (self.x.high - self.x.low)
        return self.left + INSET + share * (self.right - self.left - 2 * INSET)

    def place_y(self, value: float) -> float:
        return self.bottom - (value - self.y.low) / (self.y.high - self.y.low) * (self.bottom - self.top)


def draw_lines(lines: Sequence[Line], x: Axis, y: Axis, description: str) -> str:
    """A chart of lines with their interval bands; `description` is what a screen reader says."""
    longest = max((len(line.label) for line in lines), default=0)
    frame = Frame(x, y, 340, 210, left=34, right=340 - 8 - longest * CHARACTER, top=28, bottom=168)
    drawn = [_draw_axes(frame)]
    drawn += [_draw_band(frame, line) for line in lines]
    drawn += [_draw_line(frame, line) for line in lines]
    drawn += _draw_labels(frame, [line for line in lines if line.points])
    return _wrap(frame, drawn, description)


def draw_panel(lines: Sequence[Line], x: Axis, y: Axis, description: str) -> str:
    """A chart of a third of that size, one of many side by side that share their axes."""
    frame = Frame(x, y, 160, 104, left=30, right=156, top=8, bottom=86)
    drawn = [_draw_axes(frame)]
    drawn += [_draw_band(frame, line) for line in lines]
    drawn += [_draw_line(frame, line) for line in lines]
    return _wrap(frame, drawn, description)


def draw_bars(bars: Sequence[Bar], x: Axis, y: Axis, description: str) -> str:
    """A chart of stacked bars."""
    wider = replace(x, low=x.low - 0.5, high=x.high + 0.5)
    frame = Frame(wider, y, 340, 210, left=34, right=336, top=28, bottom=168)
    places = sorted(frame.place_x(bar.x) for bar in bars)
    nearest = min((b - a for a, b in zip(places, places[1:], strict=False)), default=44.0)
    width = min(44.0, nearest * 0.72)
    drawn = [_draw_axes(frame), *(_draw_bar(frame, bar, width) for bar in bars)]
    return _wrap(frame, drawn, description)


def share_axis(title: str, values: Iterable[float]) -> Axis:
    """An axis in percent around shares in [0, 1], 20 points or more: noise should not look like news."""
    known = list(values)
    low, high = min(known, default=0.0), max(known, default=1.0)
    if high - low < 0.2:
        middle = (low + high) / 2
        low, high = middle - 0.1, middle + 0.1
        low, high = (0.0, 0.2) if low < 0 else (0.8, 1.0) if high > 1 else (low, high)
    step = next(step for step in (0.05, 0.1, 0.2, 0.25, 0.5) if (high - low) / step <= 5 or step == 0.5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    low, high = max(0.0, first * step), min(1.0, last * step)
    places = [tick * step for tick in range(first, last + 1) if tick * step <= 1]
    return Axis(title, low, high, tuple((place, f"{100 * place:.0f}") for place in places))


def amount_axis(title: str, values: Iterable[float]) -> Axis:
    """An axis from zero to a round number above the largest value."""
    top = max(values, default=0.0)
    top = top if top > 1e-6 else 1.0
    size = 10 ** math.floor(math.log10(top))
    step = next(factor * size for factor in (0.2, 0.25, 0.5, 1, 2, 2.5, 5) if top / (factor * size) <= 4.6)
    count = math.ceil(top / step - 1e-9)
    places = [tick * step for tick in range(count + 1)]
    return Axis(title, 0.0, count * step, tuple((place, f"{place:g}") for place in places))


def iteration_axis(iterations: Iterable[float]) -> Axis:
    """An axis of iterations; -1 is the start, before the first one."""
    known = sorted(iterations) or [0]
    low, high = known[0], known[-1]
    last = max(0, int(high))
    steps = (factor * size for size in (1, 10, 100, 1000) for factor in (1, 2, 5))
    step = next(step for step in steps if last / step <= 7)
    numbers = range(max(0, int(low)), last + 1, step) if high >= 0 else range(0)
    ticks = [(float(number), str(number)) for number in numbers]
    if low < 0:
        crowded = (high - low) > 8
        ticks = [(-1.0, "start"), *(tick for tick in ticks if not (crowded and tick[0] == 0))]
    return Axis("iteration", *((low - 0.5, high + 0.5) if low == high else (low, high)), tuple(ticks))


def number_axis(title: str, values: Iterable[float]) -> Axis:
    """An axis that spans the values, with at most seven round ticks."""
    known = list(values)
    low, high = min(known), max(known)
    if low == high:
        return Axis(title, low - 0.5, high + 0.5, ((low, f"{low:g}"),))
    step = next(step for step in (0.05, 0.1, 0.2, 0.25, 0.5, 1.0) if (high - low) / step <= 6.5)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    places = [tick * step for tick in range(first, last + 1)]
    return Axis(title, low, high, tuple((place, f"{place:.4g}") for place in places))


def _draw_axes(frame: Frame) -> str:
    parts = []
    for value, label in frame.y.ticks:
        y = frame.place_y(value)
        parts.append(f'<path class="grid" d="M{frame.left:.1f} {y:.1f}H{frame.right:.1f}"/>')
        parts.append(_text(label, frame.left - 6, y + 4, "tick end"))
    for value, label in frame.x.ticks:
        parts.append(_text(label, frame.place_x(value), frame.bottom + 16, "tick middle"))
    if frame.y.title:
        parts.append(_text(frame.y.title, 0, 12, "axis"))
    if frame.x.title:
        parts.append(_text(frame.x.title, (frame.left + frame.right) / 2, frame.bottom + 34, "axis middle"))
    return "".join(parts)


def _draw_band(frame: Frame, line: Line) -> str:
    found = ((point.x, point.low, point.high) for point in line.points)
    known = [(x, low, high) for x, low, high in found if low is not None and high is not None]
    if len(known) == 1:
        (x, low, high) = known[0]
        path = f"M{frame.place_x(x):.1f} {frame.place_y(low):.1f}V{frame.place_y(high):.1f}"
        return f'<path class="whisker {line.colour}" d="{path}"/>'
    upper = [f"{frame.place_x(x):.1f} {frame.place_y(high):.1f}" for x, _, high in known]
    lower = [f"{frame.place_x(x):.1f} {frame.place_y(low):.1f}" for x, low, _ in reversed(known)]
    return f'<path class="band {line.colour}" d="M{"L".join(upper + lower)}Z"/>' if known else ""


def _draw_line(frame: Frame, line: Line) -> str:
    places = [(frame.place_x(point.x), frame.place_y(point.y)) for point in line.points]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    parts = [f'<path class="line {line.colour}" d="M{path}"/>'] if len(places) > 1 else []
    if len(places) <= 40:
        parts += [f'<circle class="dot {line.colour}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>' for x, y in places]
    return "".join(parts)


def _draw_labels(frame: Frame, lines: Sequence[Line]) -> list[str]:
    ends = spread([frame.place_y(line.points[-1].y) for line in lines], frame.top, frame.bottom)
    x = max((frame.place_x(line.points[-1].x) for line in lines), default=0.0) + 7
    parts = [_text(line.label, x, y + 4, f"label {line.colour}") for line, y in zip(lines, ends, strict=True)]
    parts += [_draw_first_label(frame, line) for line in lines if line.first_label and len(line.points) > 1]
    return parts


def _draw_first_label(frame: Frame, line: Line) -> str:
    first = line.points[0]
    low, high = (first.y if bound is None else bound for bound in (first.low, first.high))
    places = [(frame.place_x(point.x), frame.place_y(point.y)) for point in line.points]
    room = Room(frame.right, frame.top - 6, frame.bottom - 1)
    place = place_first(line.first_label, places, (frame.place_y(high), frame.place_y(low)), room)
    return _text(line.first_label, *place, f"label {line.colour}") if place else ""


def _draw_bar(frame: Frame, bar: Bar, width: float) -> str:
    parts, floor = [], frame.y.low
    for colour, height in bar.parts:
        top, bottom = frame.place_y(floor + height), frame.place_y(floor)
        x = frame.place_x(bar.x) - width / 2
        box = f'x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{bottom - top:.1f}"'
        parts.append(f'<rect class="fill {colour}" {box}/>')
        floor += height
    return "".join(parts)


def _text(text: str, x: float, y: float, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _wrap(frame: Frame, drawn: Sequence[str], description: str) -> str:
    size = f"0 0 {frame.width:g} {frame.height:g}"
    head = f'<svg class="chart" viewBox="{size}" role="img" aria-label="{escape(description)}">'
    return head + "".join(drawn) + "</svg>"
