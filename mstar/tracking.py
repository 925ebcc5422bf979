"""What trackers are told of a run, and by whom: each has a thread of its own, so that no stage waits for it.

The loop and the stage commands hand over every finished stage, those of earlier starts too. A small file per
stage, `tracking/<tracker>/<stage's folder>`, says that a tracker has it; so nothing is sent twice, and what a
tracker missed is sent when the run is started again. A tracker that fails is told of once and asked again
after the next stage; one that hangs is left behind when the command is done.
"""

import importlib
import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any

from mstar.evaluation import REST
from mstar.report.history import read_timing
from mstar.report.metric_lines import stage_fields
from mstar.rundir import RunDir
from mstar.stages import EVALUATE
from mstar.storage import read_text, write_text
from mstar.trackers import Figures, Tracker, build_tracker, check_trackers

PATIENCE_SECONDS = 15.0
"""The longest that the end of a command waits for one answer of a tracker."""
REPORT = "report.html"
Job = Callable[[], None]
log = logging.getLogger("mstar")


class Tracking:
    """The trackers of a run; none by default."""

    def __init__(self, run: RunDir, feeds: Sequence["Feed"] = ()) -> None:
        self._run = run
        self._feeds = feeds

    def observe_stage(self, folder_name: str, iteration: int | None, result: object) -> None:
        """Hand over a finished stage's result; None, where other shards still owe parts, is nothing."""
        if self._feeds and result is not None:
            figures = read_figures(self._run, folder_name, iteration, result)
            if figures.values:
                for feed in self._feeds:
                    feed.log(figures)

    def finish(self) -> None:
        """The run has come to its end, and its report is written."""
        for feed in self._feeds:
            feed.finish()


@contextmanager
def open_tracking(run: RunDir) -> Iterator[Tracking]:
    """The trackers that `tracking.to` names, as long as the block lasts; UserError where one cannot work."""
    names = tuple(dict.fromkeys(run.config.tracking.to))
    check_trackers(names)
    feeds = [Feed(name, run) for name in names]
    try:
        yield Tracking(run, feeds)
    finally:
        for feed in feeds:
            feed.end()
        for feed in feeds:
            feed.wait()


def read_figures(run: RunDir, folder_name: str, iteration: int | None, result: Any) -> Figures:
    """The numbers of a finished stage under their names in metrics.jsonl; its seconds come last."""
    stage = EVALUATE.name if folder_name == REST else folder_name
    fields = stage_fields(result, run.config.adapt.k)
    values = {
        f"{stage}/{key}": float(value) for key, value in fields.items() if isinstance(value, int | float)
    }
    timing = read_timing(run, folder_name, iteration)
    if timing is None:
        return Figures(folder_name, iteration, time.time(), values)
    finished = datetime.fromisoformat(timing.finished).timestamp()
    return Figures(folder_name, iteration, finished, values | {f"{folder_name}/seconds": timing.seconds})


class Feed:
    """The thread that does what one tracker is asked for, in order. The library is imported, and its server
    asked, when there is something that the tracker does not have.
    """

    def __init__(self, name: str, run: RunDir) -> None:
        self.name = name
        self._run = run
        self._tracker: Tracker | None = None
        self._asked: float | None = None
        self._ended = math.inf
        self._has_news = False
        self._has_warned = False
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"tracking {name}", daemon=True)
        self._thread.start()

    def log(self, figures: Figures) -> None:
        """Hand over a finished stage, unless the tracker has it."""
        self._jobs.put(partial(self._log, figures))

    def finish(self) -> None:
        """Hand over the report of a run that has come to its end, if it says anything new."""
        self._jobs.put(self._finish)

    def end(self) -> None:
        """Nothing more comes."""
        self._ended = time.monotonic()
        self._jobs.put(None)

    def wait(self) -> None:
        """Wait for what is still to be done, as long as the tracker answers."""
        while self._thread.is_alive():
            self._thread.join(0.02)
            asked = self._asked
            if asked is not None and time.monotonic() - max(asked, self._ended) > PATIENCE_SECONDS:
                self._warn(f"no answer for {time.monotonic() - asked:.0f} s")
                return

    def _work(self) -> None:
        pending: deque[Job] = deque()
        while job := self._jobs.get():
            pending.append(job)
            self._attempt(pending)
        if self._tracker:
            self._attempt(deque([self._tracker.close]))

    def _attempt(self, pending: deque[Job]) -> None:
        """Whatever goes wrong at a tracker is no trouble of the run; what is pending stays so."""
        try:
            while pending:
                self._asked = time.monotonic()
                pending[0]()
                pending.popleft()
        except Exception as error:
            self._warn(str(error).strip().partition("\n")[0] or type(error).__name__)
        finally:
            self._asked = None

    def _log(self, figures: Figures) -> None:
        if not self._is_marked(figures.place):
            self._connect().log(figures)
            self._mark(figures.place)
            self._has_news = True

    def _finish(self) -> None:
        if self._has_news or not self._is_marked(REPORT):
            with self._run.storage.reading(REPORT) as report:
                self._connect().finish(report)
            self._mark(REPORT)

    def _connect(self) -> Tracker:
        if self._tracker is None:
            self._asked = None  # a slow disk is no server that does not answer
            importlib.import_module(self.name)
            self._asked = time.monotonic()
            self._tracker = build_tracker(self.name, self._run)
        return self._tracker

    def _is_marked(self, place: str) -> bool:
        try:
            read_text(self._run.storage, f"tracking/{self.name}/{place}")
        except FileNotFoundError:
            return False
        return True

    def _mark(self, place: str) -> None:
        write_text(self._run.storage, f"tracking/{self.name}/{place}", "logged\n")

    def _warn(self, reason: str) -> None:
        if not self._has_warned:
            log.warning(
                "%s does not take the run's figures (%s); the run goes on without it. What it lacks is sent "
                "when it answers, or when the run is started again",
                self.name,
                reason,
            )
        self._has_warned = True
