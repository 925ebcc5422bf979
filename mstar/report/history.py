"""What the stage folders of a run hold so far, read once.

A stage counts when its manifest is there; one in hand, or one whose files are gone, is not in the history.
Responses are not read here (see comparison.py).
"""

import logging
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

from mstar.errors import UserError
from mstar.records import Decision, Report, from_json
from mstar.rundir import STAGES, RunDir, stage_prefix

Record = TypeVar("Record")
log = logging.getLogger("mstar")


@dataclass(frozen=True, slots=True)
class Timing:
    """A stage's `timing.json`; `inside_seconds` went by in the engine, the trainer or the PRM."""

    seconds: float
    inside_seconds: float
    peak_memory_bytes: int
    finished: str


@dataclass(frozen=True, slots=True)
class RunTiming:
    """The run's own `timing.json`, added up by the loop over all its starts."""

    wall_clock_seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True, slots=True)
class FinishedStage:
    name: str
    facts: dict[str, Any]
    timing: Timing | None


@dataclass(frozen=True, slots=True)
class Turn:
    """The start (`iteration` None) or one turn of the loop: its finished stages and what came out of them."""

    iteration: int | None
    temperature: float | None
    """What the iteration sampled with; None for the start."""
    stages: dict[str, FinishedStage]
    report: Report | None
    decision: Decision | None

    @property
    def finished(self) -> bool:
        return "adapt" in self.stages

    def fact(self, stage: str, name: str) -> float | None:
        """A number among the facts of a stage; None where the stage or the fact is not there."""
        if stage not in self.stages or name not in self.stages[stage].facts:
            return None
        value = self.stages[stage].facts[name]
        return value if isinstance(value, int | float) else None


@dataclass(frozen=True, slots=True)
class History:
    start: Turn
    iterations: tuple[Turn, ...]
    """In order; the last one may be unfinished."""
    timing: RunTiming | None

    @property
    def turns(self) -> tuple[Turn, ...]:
        return (self.start, *self.iterations)

    @property
    def finished_iterations(self) -> int:
        return sum(turn.finished for turn in self.iterations)


def read_history(run: RunDir) -> History:
    """All that has been finished of a run."""
    iterations = []
    for iteration in count():
        turn = _read_turn(run, iteration)
        if not turn.stages:
            break
        iterations.append(turn)
    return History(_read_turn(run, None), tuple(iterations), _read(run, "timing.json", RunTiming))


def _read_turn(run: RunDir, iteration: int | None) -> Turn:
    stages = {}
    for name in STAGES:
        manifest = run.manifest(name, iteration)
        if manifest is not None:
            timing = _read(run, f"{stage_prefix(name, iteration)}/timing.json", Timing)
            stages[name] = FinishedStage(name, manifest.facts, timing)
    report = (
        _read(run, f"{stage_prefix('evaluate', iteration)}/report.json", Report)
        if "evaluate" in stages
        else None
    )
    decision = (
        _read(run, f"{stage_prefix('adapt', iteration)}/decision.json", Decision)
        if "adapt" in stages
        else None
    )
    return Turn(iteration, _temperature(run, iteration), stages, report, decision)


def _temperature(run: RunDir, iteration: int | None) -> float | None:
    if iteration is None:
        return None
    try:
        return run.state(iteration).temperature
    except UserError:
        return None


def _read(run: RunDir, key: str, kind: type[Record]) -> Record | None:
    try:
        return from_json(kind, run.storage.read(key).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        log.warning("%s is damaged; the report does without it", key)
        return None
