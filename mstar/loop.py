"""The algorithm: self-evolving training in one process.

Every stage finds its inputs in the run's folder, leaves its results there, and does nothing if they are there
already. So this page is also how a run is resumed, and on a cluster the same functions run as tasks of a
pipeline.
"""

import json
import time
from collections.abc import Callable

from mstar.adaptation import adapt, read_decision, read_report
from mstar.evaluation import evaluate
from mstar.generation import generate
from mstar.metrics import Metrics
from mstar.progress import QUIET, Progress
from mstar.report import write_report
from mstar.rundir import RunDir
from mstar.scoring import score
from mstar.selection import select
from mstar.stagedir import WHOLE
from mstar.storage import write_text
from mstar.timing import peak_memory_bytes
from mstar.training import train


def evolve(run: RunDir, metrics: Metrics, progress: Progress = QUIET) -> None:
    """Sample, judge, keep the best, fine-tune on them, measure, adapt; and again."""
    stages: dict[str, Callable[[int], None]] = {
        "generate": lambda iteration: generate(run, iteration, WHOLE, progress),
        "score": lambda iteration: score(run, iteration, WHOLE, progress),
        "select": lambda iteration: select(run, iteration, progress),
        "train": lambda iteration: train(run, iteration, progress),
        "evaluate": lambda iteration: evaluate(run, iteration, WHOLE, progress),
        "adapt": lambda iteration: adapt(run, iteration, progress),
    }
    start = time.perf_counter()
    evaluate(run, None, WHOLE, progress)
    _tell_accuracy(run, None, metrics, progress)
    for iteration in range(run.config.iterations.count):
        metrics.begin_iteration(iteration, run.state(iteration).temperature)
        for name, stage in stages.items():
            stage(iteration)
            _tell_stage(run, name, iteration, metrics)
        _tell_accuracy(run, iteration, metrics, progress)
        if read_decision(run, iteration).stop:
            break
    _write_timing(run, time.perf_counter() - start)
    write_report(run)


def _tell_stage(run: RunDir, name: str, iteration: int, metrics: Metrics) -> None:
    manifest = run.manifest(name, iteration)
    if manifest is None:
        raise RuntimeError(f"{name} of iteration {iteration} ended without a manifest")
    metrics.observe_stage(name, iteration, manifest.facts, run.timing(name, iteration).get("seconds", 0.0))


def _tell_accuracy(run: RunDir, iteration: int | None, metrics: Metrics, progress: Progress) -> None:
    report = read_report(run, iteration)
    metrics.observe_report(report)
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
        earlier = json.loads(run.storage.read("timing.json").read_text())["wall_clock_seconds"]
    except (FileNotFoundError, ValueError, KeyError):
        earlier = 0.0
    timing = {"wall_clock_seconds": round(earlier + seconds, 3), "peak_memory_bytes": peak_memory_bytes()}
    write_text(run.storage, "timing.json", json.dumps(timing, indent=2) + "\n")
