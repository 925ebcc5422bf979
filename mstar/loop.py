"""The algorithm: self-evolving training in one process.

Every stage finds its inputs in the run's folder, leaves its results there, and does nothing if they are there
already. So this page is also how a run is resumed, and on a cluster the same functions run as tasks of a
pipeline.
"""

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from mstar.adaptation import adapt, tell_saturation
from mstar.checkpoints import remove_superseded, with_removed_policies
from mstar.evaluation import REST, evaluate, read_report
from mstar.generation import generate
from mstar.looking_ahead import replayed
from mstar.plan.table import tell_left
from mstar.progress import QUIET, Progress
from mstar.records import Decision
from mstar.report.page import write_report
from mstar.report.summary import Summary
from mstar.run_metrics import RunMetrics
from mstar.rundir import RunDir
from mstar.scoring import score
from mstar.selection import select
from mstar.stages import ADAPT, EVALUATE, WHOLE
from mstar.starting import finished_iterations
from mstar.storage import write_text
from mstar.stored_records import Unreadable, read_record
from mstar.timing import peak_memory_bytes
from mstar.tracking import Tracking
from mstar.training import train


def evolve(run: RunDir, metrics: RunMetrics, tracking: Tracking, progress: Progress = QUIET) -> Summary:
    """Sample, judge, keep the best, fine-tune on them, measure, adapt; and again."""
    stages = stages_of(run, progress)

    def observe(folder_name: str, iteration: int | None, result: Any) -> None:
        metrics.observe_stage(folder_name, iteration, result)
        tracking.observe_stage(folder_name, iteration, result)

    start = time.perf_counter()
    metrics.begin(EVALUATE.name, None)
    observe(EVALUATE.name, None, evaluate(run, None, WHOLE, progress))
    tell_accuracy(run, None, progress)
    tell_saturation(run.config, read_report(run, None), progress)
    turns, done = range(run.config.iterations.count), finished_iterations(run)
    for iteration in replayed(run, turns, done):
        was_finished = run.is_finished(ADAPT.name, iteration)
        result: Any = None
        for name, stage in stages.items():
            metrics.begin(name, iteration)
            result = with_removed_policies(run, partial(stage, iteration), stages["train"], progress)
            observe(name, iteration, result)
        stops = isinstance(result, Decision) and result.stop
        is_last = stops or iteration == run.config.iterations.count - 1
        if is_last:
            observe(REST, iteration, evaluate(run, iteration, WHOLE, progress, rest=True))
        tell_accuracy(run, iteration, progress)
        if is_last or not was_finished:
            remove_superseded(run, iteration)
        if is_last:
            break
        if not was_finished:
            write_report(run)
            tell_left(run, progress)
    _write_timing(run, time.perf_counter() - start)
    summary = write_report(run)
    metrics.finish()
    tracking.finish()
    return summary


def stages_of(run: RunDir, progress: Progress) -> dict[str, Callable[[int], Any]]:
    """What an iteration does, in its order."""
    return {
        "generate": lambda iteration: generate(run, iteration, WHOLE, progress),
        "score": lambda iteration: score(run, iteration, WHOLE, progress),
        "select": lambda iteration: select(run, iteration, progress),
        "train": lambda iteration: train(run, iteration, progress),
        "evaluate": lambda iteration: evaluate(run, iteration, WHOLE, progress),
        "adapt": lambda iteration: adapt(run, iteration, progress),
    }


def tell_accuracy(run: RunDir, iteration: int | None, progress: Progress) -> None:
    """What `evaluate` measured, for people."""
    report = read_report(run, iteration)
    found = ", ".join(
        f"{name} {test.accuracy.value:.1%} [{test.accuracy.low:.1%}, {test.accuracy.high:.1%}]"
        for name, test in report.tests.items()
    )
    progress.accuracy(f"{'start' if iteration is None else f'iteration {iteration}'}: accuracy {found}")


def _write_timing(run: RunDir, seconds: float) -> None:
    """The loop's own clock, over every start that came to its end; tells how much time goes by around the
    stages.
    """
    try:
        earlier = read_record(run.storage, "timing.json", dict)["wall_clock_seconds"]
    except (FileNotFoundError, Unreadable, KeyError):
        earlier = 0.0
    timing = {"wall_clock_seconds": round(earlier + seconds, 3), "peak_memory_bytes": peak_memory_bytes()}
    write_text(run.storage, "timing.json", json.dumps(timing, indent=2) + "\n", durable=False)
