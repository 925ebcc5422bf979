"""A run in a few numbers, for programs: what `summary.json` holds.

Everything is measured or None; nothing is filled in. Shares are in [0, 1], times in seconds, memory in bytes.
"""

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from mstar import __version__
from mstar.config import Config
from mstar.records import TemperatureReport
from mstar.report.comparison import Change, Comparison, compare
from mstar.report.history import History, Turn, read_history
from mstar.report.official import OfficialScores, official_scores
from mstar.rundir import RunDir
from mstar.stages import STAGE_NAMES

LIBRARIES = ("torch", "transformers", "numpy", "pyarrow")


@dataclass(frozen=True, slots=True)
class Measured:
    """Greedy accuracy of one policy on one test set, with its 95 % interval."""

    accuracy: float
    low: float
    high: float
    problems: int
    iteration: int | None
    """The policy after this iteration; None is the one that the run started from."""


@dataclass(frozen=True, slots=True)
class TestSummary:
    first: Measured
    last: Measured
    best: Measured
    """The highest accuracy; among equals the earliest."""
    change: Change | None
    """From the first to the last on the same problems; None where the responses of one are not there."""
    official: OfficialScores | None = None
    """By the rules of its authors; for MathVista only."""

    @property
    def fell(self) -> bool:
        """Whether the last accuracy lies below the first beyond what the measurement leaves open."""
        return self.change.high < 0 if self.change else self.last.high < self.first.low


@dataclass(frozen=True, slots=True)
class TemperatureChoice:
    """What an iteration sampled with, or what the next one will, and why."""

    iteration: int
    temperature: float
    reason: str


@dataclass(frozen=True, slots=True)
class SweepSummary:
    """Exploration and exploitation over the temperature grid, after one iteration (None: at the start)."""

    iteration: int | None
    temperatures: tuple[TemperatureReport, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    name: str
    iterations: int
    """Finished ones."""
    config_hash: str
    versions: dict[str, str | None]
    wall_clock_seconds: float
    """As the loop counted it over its starts, but at least the stages' sum: a killed start counts nothing."""
    seconds: dict[str, float]
    """Wall clock by stage."""
    inside_seconds: dict[str, float]
    """Of that, inside the engine, the trainer and the process reward model."""
    overhead_share: float | None
    """Share of the wall clock that was spent elsewhere."""
    peak_memory_bytes: int | None
    tests: dict[str, TestSummary]
    """In the order of `data.tests`; the first is the in-distribution one."""
    fallen: tuple[str, ...]
    """Test sets on which the last policy is worse than the first, beyond the interval of the change."""
    temperatures: tuple[TemperatureChoice, ...]
    sweeps: tuple[SweepSummary, ...]

    @property
    def change(self) -> Change | None:
        """That of the first test set."""
        first = next(iter(self.tests.values()), None)
        return first.change if first else None


def summarise(run: RunDir) -> Summary:
    """The summary of a run as it stands."""
    history = read_history(run)
    return condense(run.config, history, compare(run, history), official_scores(run, history))


def condense(
    config: Config, history: History, comparison: Comparison, official: Mapping[str, OfficialScores]
) -> Summary:
    """The summary of what has been read."""
    tests = _summarise_tests(config, history, comparison, official)
    seconds, inside = _stage_seconds(history)
    wall_clock = _wall_clock(history, sum(seconds.values()))
    return Summary(
        name=config.name,
        iterations=history.finished_iterations,
        config_hash=hash_config(config),
        versions=library_versions(),
        wall_clock_seconds=round(wall_clock, 3),
        seconds=seconds,
        inside_seconds=inside,
        overhead_share=round(max(0.0, 1 - sum(inside.values()) / wall_clock), 6) if wall_clock > 0 else None,
        peak_memory_bytes=_peak_memory(history),
        tests=tests,
        fallen=tuple(name for name, test in tests.items() if test.fell),
        temperatures=_temperature_choices(history),
        sweeps=tuple(
            SweepSummary(turn.iteration, turn.report.temperatures)
            for turn in history.turns
            if turn.report and turn.report.temperatures
        ),
    )


def hash_config(config: Config) -> str:
    """sha256 of the resolved configuration without its output folder."""
    tree = config.model_dump(mode="json", exclude={"output"})
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


@cache
def library_versions() -> dict[str, str | None]:
    """What this process would run with; nothing is imported to find out. None: not installed."""
    versions: dict[str, str | None] = {"mstar": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _wall_clock(history: History, stages: float) -> float:
    return max(history.timing.wall_clock_seconds, stages) if history.timing else stages


def _stage_seconds(history: History) -> tuple[dict[str, float], dict[str, float]]:
    seconds, inside = {}, {}
    for name in STAGE_NAMES:
        done = (turn.stages[name].timing for turn in history.turns if name in turn.stages)
        timings = [timing for timing in done if timing]
        if timings:
            seconds[name] = round(sum(timing.seconds for timing in timings), 3)
            inside[name] = round(sum(timing.inside_seconds for timing in timings), 3)
    return seconds, inside


def _peak_memory(history: History) -> int | None:
    timings = [stage.timing for turn in history.turns for stage in turn.stages.values() if stage.timing]
    peaks = [timing.peak_memory_bytes for timing in (*timings, history.timing) if timing]
    return max(peaks, default=None)


def _summarise_tests(
    config: Config, history: History, comparison: Comparison, official: Mapping[str, OfficialScores]
) -> dict[str, TestSummary]:
    tests = {}
    for name in config.data.tests:
        measured = [point for turn in history.turns if (point := _measured(turn, name))]
        if measured:
            best = max(measured, key=lambda point: point.accuracy)
            tests[name] = TestSummary(
                measured[0], measured[-1], best, comparison.changes.get(name), official.get(name)
            )
    return tests


def _measured(turn: Turn, test: str) -> Measured | None:
    if turn.report is None or test not in turn.report.tests:
        return None
    accuracy = turn.report.tests[test].accuracy
    return Measured(accuracy.value, accuracy.low, accuracy.high, accuracy.problems, turn.iteration)


def _temperature_choices(history: History) -> tuple[TemperatureChoice, ...]:
    """One per iteration, and one for the iteration that would come next."""
    choices, reason = [], "first temperature: generate.temperature"
    for turn in history.iterations:
        assert turn.iteration is not None
        if turn.temperature is not None:
            choices.append(TemperatureChoice(turn.iteration, turn.temperature, reason))
        if turn.decision:
            reason = turn.decision.reason
    last = history.iterations[-1] if history.iterations else None
    if last and last.decision:
        choices.append(TemperatureChoice(last.decision.iteration + 1, last.decision.temperature, reason))
    return tuple(choices)
