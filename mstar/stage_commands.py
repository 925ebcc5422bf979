"""The six stages as commands, for machines that work on one run together: `mstar generate --run RUN ...`.

Every command imports its own stage and nothing more, so select and adapt need no torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mstar.progress import Progress
    from mstar.rundir import RunDir
    from mstar.stages import Shard
    from mstar.task_outputs import TaskOutputs

RunPath = Annotated[str, typer.Option("--run", metavar="RUN", help="Folder of a run that was started.")]
Iteration = Annotated[int, typer.Option("--iteration", min=0, help="Which turn of the loop, from 0.")]
ShardOption = Annotated[
    str, typer.Option("--shard", metavar="K/N", help="Do only the K-th of N disjoint shares, counted from 1.")
]
MetricsPort = Annotated[
    int | None,
    typer.Option("--metrics-port", min=1, max=65535, help="Serve metrics for Prometheus on this port."),
]

ExecutorInput = Annotated[
    str | None,
    typer.Option(
        "--executor-input", metavar="JSON", help="What Kubeflow puts in place of {{$}}.", hidden=True
    ),
]
Page = Annotated[
    Path | None, typer.Option("--page", metavar="FILE", help="Where Kubeflow wants a page.", hidden=True)
]


def generate(
    run: RunPath,
    iteration: Iteration,
    shard: ShardOption = "1/1",
    metrics_port: MetricsPort = None,
    executor_input: ExecutorInput = None,
) -> None:
    """Sample responses to an iteration's problems."""
    from mstar.generation import generate as stage

    share = _shard(shard)
    at = Place(run, iteration, metrics_port, executor_input)
    _perform("generate", at, lambda *own: stage(own[0], iteration, share, own[1]))


def score(
    run: RunPath,
    iteration: Iteration,
    shard: ShardOption = "1/1",
    metrics_port: MetricsPort = None,
    executor_input: ExecutorInput = None,
) -> None:
    """Check answers and score reasoning steps."""
    from mstar.scoring import score as stage

    share = _shard(shard)
    at = Place(run, iteration, metrics_port, executor_input)
    _perform("score", at, lambda *own: stage(own[0], iteration, share, own[1]))


def select(
    run: RunPath,
    iteration: Iteration,
    metrics_port: MetricsPort = None,
    executor_input: ExecutorInput = None,
) -> None:
    """Keep the best responses."""
    from mstar.selection import select as stage

    at = Place(run, iteration, metrics_port, executor_input)
    _perform("select", at, lambda *own: stage(own[0], iteration, own[1]))


def train(
    run: RunPath,
    iteration: Iteration,
    metrics_port: MetricsPort = None,
    executor_input: ExecutorInput = None,
) -> None:
    """Fine-tune the policy on the selected responses."""
    from mstar.training import train as stage

    at = Place(run, iteration, metrics_port, executor_input)
    _perform("train", at, lambda *own: stage(own[0], iteration, own[1]))


def evaluate(
    run: RunPath,
    iteration: Annotated[
        int | None,
        typer.Option("--iteration", min=0, help="Which turn; leave it out for the policy before the first."),
    ] = None,
    shard: ShardOption = "1/1",
    rest: Annotated[
        bool,
        typer.Option(
            "--rest",
            help="The test sets that an iteration left out; without --iteration those of a run's last one.",
        ),
    ] = False,
    metrics_port: MetricsPort = None,
    executor_input: ExecutorInput = None,
) -> None:
    """Measure accuracy, and exploration at every temperature."""
    from mstar.evaluation import REST
    from mstar.evaluation import evaluate as stage

    share, folder_name = _shard(shard), REST if rest else ""
    if rest and iteration is None:
        iteration = _last_iteration(run)
    at = Place(run, iteration, metrics_port, executor_input)
    _perform("evaluate", at, lambda *own: stage(own[0], iteration, share, own[1], rest), folder_name)


def adapt(
    run: RunPath,
    iteration: Iteration,
    metrics_port: MetricsPort = None,
    executor_input: ExecutorInput = None,
    page: Page = None,
) -> None:
    """Decide the next temperature, and write what the next iteration starts from."""
    from mstar.adaptation import adapt as stage

    at = Place(run, iteration, metrics_port, executor_input)
    opened = _perform("adapt", at, lambda *own: stage(own[0], iteration, own[1]))
    if page is not None:
        from mstar.checkpoints import remove_superseded
        from mstar.report.page import write_report
        from mstar.task_outputs import copy_page

        remove_superseded(opened, iteration)
        write_report(opened)
        copy_page(opened, page)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a stage command works, and who is told of it."""

    run: str
    iteration: int | None
    metrics_port: int | None
    executor_input: str | None


def _perform(
    name: str, at: Place, stage: "Callable[[RunDir, Progress], object]", folder_name: str = ""
) -> "RunDir":
    """One stage of a run that was started; its metrics and its tracked figures are those of the loop."""
    from mstar.progress import build_progress, title
    from mstar.run_metrics import open_metrics
    from mstar.starting import open_run
    from mstar.tracking import open_tracking
    from mstar.turns import check_iteration

    outputs = read_outputs(at.executor_input)
    opened, progress = open_run(at.run), build_progress()
    check_iteration(opened, at.iteration)
    is_done = opened.is_finished(folder_name or name, at.iteration)
    with open_metrics(opened, at.metrics_port, progress) as metrics, open_tracking(opened) as tracking:
        metrics.begin(name, at.iteration)
        result = stage(opened, progress)
        metrics.observe_stage(folder_name or name, at.iteration, result)
        tracking.observe_stage(folder_name or name, at.iteration, result)
        if outputs is not None:
            outputs.write_result(result, opened.config.adapt.k)
    if is_done:
        progress.note(f"{title(folder_name or name, at.iteration)} is finished already")
    return opened


def read_outputs(executor_input: str | None) -> "TaskOutputs | None":
    """What Kubeflow wants of this command; None elsewhere. Looked at before the work is done."""
    if executor_input is None:
        return None
    from mstar.task_outputs import TaskOutputs

    return TaskOutputs(executor_input)


def _last_iteration(run: str) -> int:
    from mstar.starting import open_run
    from mstar.turns import last_iteration

    return last_iteration(open_run(run))


def _shard(text: str) -> "Shard":
    from mstar.stages import Shard

    return Shard.parse(text)


STAGE_COMMANDS = (generate, score, select, train, evaluate, adapt)
