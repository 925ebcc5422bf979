"""Which charts a run gets, and what is in them: SVG, or None where there is nothing to draw.

A long run is thinned evenly to `MOST_PLACES` iterations; its first and last ones always stay. Text from
outside (names of tests, sources) is never drawn here: it stands in the page around the charts.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mstar.records import Estimate, TemperatureReport
from mstar.report.charts import (
    Axis,
    Bar,
    Line,
    Point,
    amount_axis,
    draw_bars,
    draw_lines,
    draw_panel,
    iteration_axis,
    number_axis,
    share_axis,
)
from mstar.report.history import History, Turn
from mstar.report.summary import Summary, SweepSummary, TemperatureChoice
from mstar.report.wording import count, interval, iteration_name, percent
from mstar.stages import STAGE_NAMES
from mstar.wording import duration

Kept = TypeVar("Kept")
Read = Callable[[TemperatureReport], Estimate | None]
Count = Callable[[Turn], int | None]

MOST_PLACES = 120
MOST_PANELS = 16
STAGE_COLOURS = dict(zip(STAGE_NAMES, ("blue", "sky", "grey", "orange", "violet", "green"), strict=True))
START = -1.0


@dataclass(frozen=True, slots=True)
class Panel:
    """One temperature of the grid over all sweeps."""

    temperature: float
    chart: str
    pass_at_k: Estimate
    reward_pass_at_k: Estimate | None
    """Both as last measured."""
    chosen: bool


def accuracy_charts(history: History, tests: Sequence[str]) -> dict[str, str]:
    """Accuracy over iterations of each test set, all on the same axes."""
    lines = {test: _accuracy_points(history, test) for test in tests}
    every = [point for points in lines.values() for point in points]
    x = iteration_axis(point.x for point in every)
    y = share_axis("accuracy, %", _reach(every))
    charts = {}
    for test, points in lines.items():
        if points:
            first, last = percent(points[0].y), percent(points[-1].y)
            spoken = f"Accuracy over iterations, from {first} to {last}; the numbers are in the tables"
            charts[test] = draw_lines([Line(points, "blue", last, first)], x, y, spoken)
    return charts


def pass_panels(sweeps: Sequence[SweepSummary], chosen: float | None) -> list[Panel]:
    """Exploration (Pass@K) and exploitation (Reward-Pass@k) over the sweeps, one panel per temperature."""
    if len(sweeps) < 2:
        return []
    swept = sorted({row.temperature for sweep in sweeps for row in sweep.temperatures})
    shown = sorted({*thin(swept, MOST_PANELS), *(one for one in swept if one == chosen)})
    rows = {temperature: _rows_at(sweeps, temperature) for temperature in shown}
    drawn = {t: [_line(own, _pass, "blue"), _line(own, _reward_pass, "orange")] for t, own in rows.items()}
    every = [point for lines in drawn.values() for line in lines for point in line.points]
    axes = (iteration_axis(point.x for point in every), share_axis("", _reach(every)))
    x = Axis("", axes[0].low, axes[0].high, _ends(axes[0]))
    panels = []
    for temperature, lines in drawn.items():
        last = rows[temperature][-1][1]
        passed, rewarded = last.pass_at_k[max(last.pass_at_k)], last.reward_pass_at_k
        spoken = f"Temperature {temperature:g}: Pass@K last {percent(passed.value)}"
        spoken += f", Reward-Pass@k last {percent(rewarded.value)}" if rewarded else ""
        chart = draw_panel([line for line in lines if line.points], x, axes[1], spoken)
        panels.append(Panel(temperature, chart, passed, rewarded, temperature == chosen))
    return panels


def sweep_charts(sweeps: Sequence[SweepSummary], reward_pass_k: int) -> dict[str, str]:
    """Pass@K and Reward-Pass@k against the temperature, in the first and in the last sweep."""
    ends = [sweep for sweep in (*sweeps[:1], *sweeps[1:][-1:]) if len(sweep.temperatures) > 1]
    if not ends:
        return {}
    samples = ends[-1].temperatures[-1].samples_per_problem
    measures = ((f"Pass@{samples}", _pass, "blue"), (f"Reward-Pass@{reward_pass_k}", _reward_pass, "orange"))
    charts = {}
    for name, read, colour in measures:
        colours = ("grey", colour)[-len(ends) :]
        drawn = (_sweep_line(sweep, read, own) for sweep, own in zip(ends, colours, strict=True))
        lines = [line for line in drawn if line.points]
        if lines:
            every = [point for line in lines for point in line.points]
            x = number_axis("temperature", (point.x for point in every))
            spoken = f"{name} against the temperature, first and last sweep; the numbers are in the table"
            charts[name] = draw_lines(lines, x, share_axis("share of the problems, %", _reach(every)), spoken)
    return charts


def temperature_chart(choices: Sequence[TemperatureChoice]) -> str | None:
    """The sampling temperature over iterations, as steps."""
    if not choices:
        return None
    kept = thin(choices, MOST_PLACES)
    low, high = min(c.temperature for c in kept), max(c.temperature for c in kept)
    middle, half = (low + high) / 2, max(0.25, (high - low) * 0.6)
    around = (max(0.0, middle - half), middle + half)
    points = tuple(Point(choice.iteration, choice.temperature) for choice in kept)
    y = number_axis("temperature", around)
    label = f"{points[-1].y:g}"
    spoken = (
        f"Sampling temperature over iterations, from {points[0].y:g} to {label}; the reasons are in the table"
    )
    return draw_lines([Line(points, "orange", label)], iteration_axis(p.x for p in points), y, spoken)


def response_chart(history: History) -> str | None:
    """What became of the sampled responses, as shares of them."""
    lines = []
    outcomes: tuple[tuple[str, Count, str], ...] = (
        ("correct", lambda turn: turn.scored.correct if turn.scored else None, "blue"),
        ("kept", lambda turn: turn.selected.kept if turn.selected else None, "green"),
        ("duplicate", lambda turn: turn.selected.duplicates if turn.selected else None, "violet"),
        ("truncated", lambda turn: turn.sampled.truncated if turn.sampled else None, "grey"),
    )
    for label, read, colour in outcomes:
        points = _points_per_response(history, read)
        lines += [Line(points, colour, f"{label} {100 * points[-1].y:.0f}")] if points else []
    if not lines:
        return None
    every = [point for line in lines for point in line.points]
    y = share_axis("share of the sampled responses, %", [0.0, *_reach(every)])
    spoken = "Shares of correct, kept, duplicate and truncated responses; the numbers are in the table"
    return draw_lines(lines, iteration_axis(point.x for point in every), y, spoken)


def length_chart(history: History, test: str) -> str | None:
    """Mean tokens of a response, sampled for training and greedy on the first test set."""
    sampled = _points_per_response(
        history, lambda turn: turn.sampled.response_tokens if turn.sampled else None
    )
    measured = [
        (_place(turn), turn.report.tests[test])
        for turn in history.turns
        if turn.report and test in turn.report.tests
    ]
    greedy = thin([Point(x, report.mean_response_tokens) for x, report in measured], MOST_PLACES)
    lines = [
        Line(tuple(points), colour, f"{label} {points[-1].y:.0f}")
        for label, points, colour in (("sampled", sampled, "orange"), ("greedy", greedy, "blue"))
        if points
    ]
    if not lines:
        return None
    every = [point for line in lines for point in line.points]
    y = amount_axis("mean tokens of a response", [point.y for point in every])
    spoken = "Mean response length over iterations; the numbers are in the table"
    return draw_lines(lines, iteration_axis(point.x for point in every), y, spoken)


def time_chart(history: History) -> str | None:
    """Wall clock of the stages, stacked, one bar per iteration."""
    timed = [turn for turn in history.turns if any(stage.timing for stage in turn.stages.values())]
    totals = {_place(turn): _stage_seconds(turn) for turn in thin(timed, MOST_PLACES)}
    if not totals:
        return None
    longest = max(sum(parts.values()) for parts in totals.values())
    unit, size = ("seconds", 1) if longest < 180 else ("minutes", 60) if longest < 10_800 else ("hours", 3600)
    bars = [
        Bar(place, tuple((STAGE_COLOURS[name], seconds / size) for name, seconds in parts.items()))
        for place, parts in totals.items()
    ]
    y = amount_axis(f"wall clock, {unit}", [longest / size])
    spoken = f"Wall clock of each iteration by stage, at most {duration(longest)}; the sums are in the table"
    return draw_bars(bars, iteration_axis(totals), y, spoken)


def thin(items: Sequence[Kept], most: int) -> list[Kept]:
    """At most that many of the items, evenly spaced, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    places = sorted({round(index * (len(items) - 1) / (most - 1)) for index in range(most)})
    return [items[place] for place in places]


def describe_last(summary: Summary, test: str) -> str:
    """One line under an accuracy chart: the last value with its interval."""
    last = summary.tests[test].last
    where = f"{iteration_name(last.iteration)}, {count(last.problems)} problems"
    return f"{percent(last.accuracy)} ({interval(last)}) at {where}"


def _place(turn: Turn) -> float:
    return START if turn.iteration is None else float(turn.iteration)


def _accuracy_points(history: History, test: str) -> tuple[Point, ...]:
    measured = [
        (turn, turn.report.tests[test]) for turn in history.turns if turn.report and test in turn.report.tests
    ]
    return tuple(thin([_point(_place(turn), report.accuracy) for turn, report in measured], MOST_PLACES))


def _points_per_response(history: History, read: Count) -> tuple[Point, ...]:
    """A count of each iteration per sampled response."""
    points = []
    for turn in history.iterations:
        counted = read(turn)
        if counted is not None and turn.sampled and turn.sampled.responses:
            points.append(Point(_place(turn), counted / turn.sampled.responses))
    return tuple(thin(points, MOST_PLACES))


def _stage_seconds(turn: Turn) -> dict[str, float]:
    return {name: stage.timing.seconds for name, stage in turn.stages.items() if stage.timing}


def _rows_at(sweeps: Sequence[SweepSummary], temperature: float) -> list[tuple[float, TemperatureReport]]:
    rows = [
        (START if sweep.iteration is None else float(sweep.iteration), row)
        for sweep in sweeps
        for row in sweep.temperatures
        if row.temperature == temperature
    ]
    return thin(rows, MOST_PLACES // 2)


def _sweep_line(sweep: SweepSummary, read: Read, colour: str) -> Line:
    found = ((row.temperature, read(row)) for row in sweep.temperatures)
    points = tuple(_point(temperature, estimate) for temperature, estimate in found if estimate)
    return Line(points, colour, "start" if sweep.iteration is None else f"it. {sweep.iteration}")


def _line(rows: Sequence[tuple[float, TemperatureReport]], read: Read, colour: str) -> Line:
    found = ((x, read(row)) for x, row in rows)
    return Line(tuple(_point(x, estimate) for x, estimate in found if estimate), colour)


def _pass(row: TemperatureReport) -> Estimate | None:
    return row.pass_at_k[max(row.pass_at_k)] if row.pass_at_k else None


def _reward_pass(row: TemperatureReport) -> Estimate | None:
    return row.reward_pass_at_k


def _point(x: float, estimate: Estimate) -> Point:
    return Point(x, estimate.value, estimate.low, estimate.high)


def _reach(points: Iterable[Point]) -> list[float]:
    return [value for point in points for value in (point.y, point.low, point.high) if value is not None]


def _ends(axis: Axis) -> tuple[tuple[float, str], ...]:
    """The first and the last tick of a small axis."""
    return (axis.ticks[0], axis.ticks[-1]) if len(axis.ticks) > 1 else axis.ticks
