"""The charts: well-formed, inside their frames, the same for the same numbers."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstar.report.charts import (
    Bar,
    Line,
    Point,
    amount_axis,
    draw_bars,
    draw_lines,
    iteration_axis,
    number_axis,
    share_axis,
)
from mstar.report.figures import thin
from mstar.report.labels import LINE_HEIGHT, Room, crosses, place_first, spread

shares = st.floats(0, 1)


@given(st.lists(shares, min_size=1, max_size=30), st.text(max_size=10))
def test_line_charts_are_well_formed_and_stay_in_their_picture(values: list[float], label: str) -> None:
    points = tuple(Point(x - 1, y, y * 0.9, min(1.0, y * 1.1)) for x, y in enumerate(values))
    axes = (
        iteration_axis(p.x for p in points),
        share_axis("accuracy, %", [0.9 * min(values), min(1.0, 1.1 * max(values))]),
    )
    svg = draw_lines(
        [Line(points, "blue", "12.3 %", "1 %")], *axes, f"accuracy {label.encode('ascii', 'ignore')!r}"
    )
    root = ElementTree.fromstring(svg)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    numbers = [
        (float(x), float(y))
        for path in re.findall(r'class="(?:line|band)[^"]*" d="([^"]*)"', svg)
        for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)
    ]
    assert all(0 <= x <= width and 0 <= y <= height for x, y in numbers)


def test_text_in_charts_is_escaped() -> None:
    svg = draw_lines(
        [Line((Point(0, 0.5),), "blue", "<b>&")], iteration_axis([0]), share_axis("<i>", [0.5]), '"><script>'
    )
    assert "<b>" not in svg and "<i>" not in svg and "<script>" not in svg


def test_bars_stand_on_each_other_and_on_the_axis() -> None:
    svg = draw_bars(
        [Bar(0, (("blue", 1.0), ("orange", 3.0)))], iteration_axis([0]), amount_axis("s", [4.0]), "time"
    )
    boxes = [
        {key: float(value) for key, value in re.findall(r'(y|height)="([\d.]+)"', rect)}
        for rect in re.findall(r"<rect[^>]*>", svg)
    ]
    assert boxes[0]["y"] == pytest.approx(boxes[1]["y"] + boxes[1]["height"])
    assert boxes[1]["height"] == pytest.approx(3 * boxes[0]["height"], rel=0.01)


@given(st.lists(st.floats(28, 168), min_size=1, max_size=6))
def test_labels_do_not_cover_each_other(places: list[float]) -> None:
    moved = spread(places, 28, 168)
    ordered = sorted(moved)
    assert all(
        below - above >= LINE_HEIGHT - 1e-6 for above, below in zip(ordered, ordered[1:], strict=False)
    )
    assert [a for _, a in sorted(zip(places, range(len(places)), strict=True))] == sorted(
        range(len(places)), key=moved.__getitem__
    )
    assert max(moved) <= 168 + 1e-6


@given(st.lists(shares, min_size=1, max_size=10))
def test_share_axes_cover_the_values_within_0_and_100(values: list[float]) -> None:
    axis = share_axis("x", values)
    assert 0 <= axis.low <= min(values) + 1e-9 and max(values) - 1e-9 <= axis.high <= 1
    assert axis.high - axis.low >= 0.2 - 1e-9 and 2 <= len(axis.ticks) <= 8


@given(st.floats(0, 1e9))
def test_amount_axes_start_at_zero_and_have_few_ticks(value: float) -> None:
    axis = amount_axis("tokens", [value])
    assert axis.low == 0 and axis.high >= value * (1 - 1e-6) and 2 <= len(axis.ticks) <= 7


@given(st.integers(-1, 0), st.integers(0, 10_000))
def test_iteration_axes_have_few_whole_ticks(first: int, last: int) -> None:
    axis = iteration_axis([first, last])
    assert axis.low < axis.high and 1 <= len(axis.ticks) <= 10
    assert all(label == ("start" if value < 0 else str(int(value))) for value, label in axis.ticks)


@given(st.lists(st.floats(0.01, 2), min_size=1, max_size=14))
def test_number_axes_span_the_values(values: list[float]) -> None:
    axis = number_axis("temperature", values)
    assert (
        axis.low < axis.high and axis.low <= min(values) and axis.high >= max(values) and len(axis.ticks) <= 8
    )


def test_thin_keeps_the_ends() -> None:
    assert thin(range(5), 10) == [0, 1, 2, 3, 4]
    thinned = thin(range(10_000), 120)
    assert len(thinned) == 120 and thinned[0] == 0 and thinned[-1] == 9_999


ROOM = Room(right=280, top=22, bottom=167)


def test_the_first_label_keeps_off_a_steep_line() -> None:
    """From 28.0 % straight to 70.8 %, on an axis that begins at 20 %: no room below, the line above."""
    line = [(44.0, 149.3), (123.0, 49.4), (202.0, 49.4)]
    place = place_first("28.0 %", line, (138.6, 159.1), ROOM)
    assert place is not None and ROOM.holds(place, "28.0 %") and not crosses(line, place, "28.0 %")
    assert abs(place[0] - line[0][0]) < 40 and abs(place[1] - line[0][1]) < 20


def test_the_first_label_is_below_a_line_that_rises_and_above_one_that_falls() -> None:
    assert place_first("50 %", [(44.0, 90.0), (200.0, 60.0)], (84.0, 96.0), ROOM) == (40.0, 111.0)
    assert place_first("50 %", [(44.0, 90.0), (200.0, 120.0)], (84.0, 96.0), ROOM) == (40.0, 78.0)


@given(st.lists(shares, min_size=2, max_size=20), st.sampled_from([0.0, 0.02, 0.2]))
def test_no_label_lies_on_its_line(values: list[float], reach: float) -> None:
    """As drawn: what the picture says of its line and of its label."""
    points = tuple(Point(x - 1, y, max(0.0, y - reach), min(1.0, y + reach)) for x, y in enumerate(values))
    bounds = [bound for point in points for bound in (point.low, point.high) if bound is not None]
    axes = (iteration_axis(p.x for p in points), share_axis("accuracy, %", bounds))
    svg = draw_lines([Line(points, "blue", "", "12.3 %")], *axes, "accuracy")
    path = re.findall(r'class="line blue" d="M([^"]*)"', svg)[0]
    line = [(float(x), float(y)) for x, y in (pair.split() for pair in path.split("L"))]
    labels = re.findall(r'class="label blue" x="([\d.]+)" y="([\d.]+)">12.3', svg)
    assert len(labels) <= 1
    for x, y in labels:
        ink = [(float(x) + dx, float(y) - dy) for dx in range(0, 36, 2) for dy in (0, 4, 8)]
        assert not any(_touches(line, place) for place in ink)


def _touches(line: list[tuple[float, float]], place: tuple[float, float]) -> bool:
    """Whether a line passes straight above or below a place by less than a pixel."""
    for (x0, y0), (x1, y1) in zip(line, line[1:], strict=False):
        if x0 <= place[0] <= x1:
            return abs(y0 + (y1 - y0) * (place[0] - x0) / max(x1 - x0, 1e-9) - place[1]) < 1
    return False
