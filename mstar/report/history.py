"""What the stage folders of a run hold so far, read once.

A stage counts when its manifest is there; one in hand, or one whose files are gone, is not in the history.
Responses are not read here (see comparison.py).
"""

import logging
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Generic, TypeVar

from mstar.errors import UserError
from mstar.evaluation import REST, read_report
from mstar.looking_ahead import TOLD, in_turn
from mstar.records import Decision, Report, Sampled, Scored, Selected, Trained
from mstar.rundir import RunDir
from mstar.stage_notes import TIMING
from mstar.stages import EVALUATE, STAGES, Stage, stage_prefix
from mstar.stored_records import Unreadable, parse_record, read_if_whole

Result = TypeVar("Result")
log = logging.getLogger("mstar")
WITHOUT = "the report does without it"


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
class FinishedStage(Generic[Result]):
    name: str
    result: Result
    timing: Timing | None


@dataclass(frozen=True, slots=True)
class Turn:
    """The start (`iteration` None) or one turn of the loop: its finished stages and what came out of them."""

    iteration: int | None
    temperature: float | None
    """What the iteration sampled with; None for the start."""
    generate: FinishedStage[Sampled] | None
    score: FinishedStage[Scored] | None
    select: FinishedStage[Selected] | None
    train: FinishedStage[Trained] | None
    evaluate: FinishedStage[Report] | None
    adapt: FinishedStage[Decision] | None

    @property
    def stages(self) -> dict[str, FinishedStage[Any]]:
        """The finished ones by name, in order."""
        found = (self.generate, self.score, self.select, self.train, self.evaluate, self.adapt)
        return {stage.name: stage for stage in found if stage}

    @property
    def sampled(self) -> Sampled | None:
        return self.generate.result if self.generate else None

    @property
    def scored(self) -> Scored | None:
        return self.score.result if self.score else None

    @property
    def selected(self) -> Selected | None:
        return self.select.result if self.select else None

    @property
    def trained(self) -> Trained | None:
        return self.train.result if self.train else None

    @property
    def report(self) -> Report | None:
        return self.evaluate.result if self.evaluate else None

    @property
    def decision(self) -> Decision | None:
        return self.adapt.result if self.adapt else None

    @property
    def finished(self) -> bool:
        return self.adapt is not None


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
    for iteration in in_turn(run, count(), TOLD):
        turn = _read_turn(run, iteration)
        if not turn.stages:
            break
        iterations.append(turn)
    return History(
        _read_turn(run, None),
        tuple(iterations),
        read_if_whole(run.storage, "timing.json", RunTiming, WITHOUT),
    )


def _read_turn(run: RunDir, iteration: int | None) -> Turn:
    stages = {stage.name: _read_stage(run, stage, iteration) for stage in STAGES}
    if evaluated := stages[EVALUATE.name]:
        stages[EVALUATE.name] = _with_rest(run, iteration, evaluated)
    return Turn(iteration, _temperature(run, iteration), **stages)


def _with_rest(run: RunDir, iteration: int | None, evaluated: FinishedStage[Report]) -> FinishedStage[Report]:
    """An evaluation and that of the test sets that it left out, where a run's end has asked for them."""
    rest = read_timing(run, REST, iteration) if run.is_finished(REST, iteration) else None
    timing = evaluated.timing
    if timing and rest:
        timing = Timing(
            timing.seconds + rest.seconds,
            timing.inside_seconds + rest.inside_seconds,
            max(timing.peak_memory_bytes, rest.peak_memory_bytes),
            rest.finished,
        )
    return replace(evaluated, result=read_report(run, iteration), timing=timing)


def _read_stage(run: RunDir, stage: Stage[Result], iteration: int | None) -> FinishedStage[Result] | None:
    prefix = stage_prefix(stage.name, iteration)
    if not run.is_finished(stage.name, iteration):
        return None
    try:
        result = run.result(stage, iteration)
    except UserError:
        log.warning("%s has no readable result; %s", prefix, WITHOUT)
        return None
    return FinishedStage(stage.name, result, read_timing(run, stage.name, iteration))


def read_timing(run: RunDir, folder_name: str, iteration: int | None) -> Timing | None:
    """How long a stage took and when it was done; None where that is not known."""
    prefix = stage_prefix(folder_name, iteration)
    try:
        return parse_record(run.beside(prefix, TIMING), Timing)
    except FileNotFoundError:
        return None
    except Unreadable:
        log.warning("%s/%s is damaged; %s", prefix, TIMING, WITHOUT)
        return None


def _temperature(run: RunDir, iteration: int | None) -> float | None:
    if iteration is None:
        return None
    try:
        return run.state(iteration).temperature
    except UserError:
        return None
