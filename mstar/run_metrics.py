"""The metrics of a run while a command works on it, as the loop and the stage commands hand them over.

What earlier iterations left is read first: so a stage command in a process of its own shows what the loop
would, and counters count the run and not the process. Nothing is read where nobody looks.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from mstar.errors import UserError
from mstar.evaluation import REST, read_report
from mstar.looking_ahead import TOLD, in_turn
from mstar.metrics import START, Metrics, number_of, seconds_since_1970
from mstar.metrics_server import MetricsServer
from mstar.progress import QUIET, Progress
from mstar.pushgateway import Gateway, open_gateway, retire
from mstar.report.history import read_timing
from mstar.rundir import RunDir
from mstar.stages import ADAPT, EVALUATE, GENERATE, STAGES
from mstar.starting import finished_iterations, planned_iterations

BY_NAME = {stage.name: stage for stage in STAGES}


class RunMetrics:
    """Fills `values` while a run goes; where `is_read` is false, with nothing."""

    def __init__(self, run: RunDir, gateway: Gateway | None = None, is_read: bool = True) -> None:
        self.values = Metrics(run.config.name, run.config.adapt.k)
        self.has_ended = False
        self._run = run
        self._gateway = gateway
        self._is_read = is_read
        self._next = {name: START if name == EVALUATE.name else 0 for name in BY_NAME}

    def begin(self, stage: str, iteration: int | None) -> None:
        """A stage is about to begin, if it is not done already."""
        if self._is_read:
            self.catch_up(stage, number_of(iteration))
            self._begin(stage, iteration)

    def observe_stage(self, folder_name: str, iteration: int | None, result: object) -> None:
        """Take in a finished stage's result; None, where other shards still owe parts, is nothing."""
        if self._is_read and result is not None:
            stage = EVALUATE.name if folder_name == REST else folder_name
            self._observe(stage, iteration, result, folder_name)
            if self._gateway:
                self._gateway.push(stage, self.values.of_stage(stage))

    def finish(self) -> None:
        """The run has come to its end."""
        self.has_ended = True

    def catch_up(self, stage: str, before: int) -> None:
        """Take in what a stage left in the iterations before this one, if that has not been done."""
        folders = (stage, REST) if stage == EVALUATE.name else (stage,)
        for number in in_turn(self._run, range(self._next[stage], before), TOLD, folders):
            iteration = None if number == START else number
            with suppress(UserError):
                self._observe(stage, iteration, self._run.result(BY_NAME[stage], iteration), stage)

    def _begin(self, stage: str, iteration: int | None) -> None:
        temperature = None
        if iteration is not None and stage == GENERATE.name:
            temperature = self._run.state(iteration).temperature
        self.values.begin(stage, iteration, temperature)

    def _observe(self, stage: str, iteration: int | None, result: Any, folder_name: str) -> None:
        """Of an evaluation all that was measured, whichever folder was the last."""
        self._begin(stage, iteration)
        if stage == EVALUATE.name:
            result = read_report(self._run, iteration)
        self.values.observe_stage(stage, iteration, result, read_timing(self._run, folder_name, iteration))
        self._next[stage] = number_of(iteration) + 1


@contextmanager
def open_metrics(run: RunDir, port: int | None, progress: Progress = QUIET) -> Iterator[RunMetrics]:
    """The metrics of a run as long as the block lasts: served on the port, if there is one, until what it has
    left has been read; pushed to the gateway, if there is one, and deleted there when the run has ended.
    """
    with open_gateway(run.config) as gateway:
        metrics = RunMetrics(run, gateway, is_read=bool(port or gateway))
        if port is None:
            yield metrics
        else:
            server = MetricsServer(metrics.values, run.config.name)
            with server.serve(port):
                yield metrics
                server.await_scrape(progress)
        if gateway and metrics.has_ended:
            retire(gateway, last_success(run), progress)


def stored_metrics(run: RunDir) -> Metrics:
    """The metrics of all that is finished in a run."""
    metrics, done = RunMetrics(run), finished_iterations(run)
    for stage in BY_NAME:
        metrics.catch_up(stage, done + 1)
    return metrics.values


def retire_if_ended(run: RunDir, progress: Progress = QUIET) -> None:
    """Delete the groups of a run whose iterations are all finished, if there is a gateway."""
    with open_gateway(run.config) as gateway:
        if gateway and finished_iterations(run) >= planned_iterations(run):
            retire(gateway, last_success(run), progress)


def last_success(run: RunDir) -> float:
    """When the last finished iteration was done, in Unix time; 0 where that is not known."""
    last = finished_iterations(run) - 1
    timings = (read_timing(run, name, last) for name in (ADAPT.name, REST))
    return max((seconds_since_1970(found.finished) for found in timings if found), default=0.0)
