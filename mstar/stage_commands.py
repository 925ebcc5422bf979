"""The six stages as commands, for machines that work on one run together: `mstar generate --run RUN ...`.

Every command imports its own stage and nothing more, so select and adapt need no torch.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mstar.progress import Progress
    from mstar.rundir import RunDir
    from mstar.stages import Shard

RunPath = Annotated[str, typer.Option("--run", metavar="RUN", help="Folder of a run that was started.")]
Iteration = Annotated[int, typer.Option("--iteration", min=0, help="Which turn of the loop, from 0.")]
ShardOption = Annotated[
    str, typer.Option("--shard", metavar="K/N", help="Do only the K-th of N disjoint shares, counted from 1.")
]
MetricsPort = Annotated[
    int | None,
    typer.Option("--metrics-port", min=1, max=65535, help="Serve metrics for Prometheus on this port."),
]


def generate(
    run: RunPath, iteration: Iteration, shard: ShardOption = "1/1", metrics_port: MetricsPort = None
) -> None:
    """Sample responses to an iteration's problems."""
    from mstar.generation import generate as stage

    share = _shard(shard)
    _perform("generate", run, iteration, metrics_port, lambda *at: stage(at[0], iteration, share, at[1]))


def score(
    run: RunPath, iteration: Iteration, shard: ShardOption = "1/1", metrics_port: MetricsPort = None
) -> None:
    """Check answers and score reasoning steps."""
    from mstar.scoring import score as stage

    share = _shard(shard)
    _perform("score", run, iteration, metrics_port, lambda *at: stage(at[0], iteration, share, at[1]))


def select(run: RunPath, iteration: Iteration, metrics_port: MetricsPort = None) -> None:
    """Keep the best responses."""
    from mstar.selection import select as stage

    _perform("select", run, iteration, metrics_port, lambda *at: stage(at[0], iteration, at[1]))


def train(run: RunPath, iteration: Iteration, metrics_port: MetricsPort = None) -> None:
    """Fine-tune the policy on the selected responses."""
    from mstar.training import train as stage

    _perform("train", run, iteration, metrics_port, lambda *at: stage(at[0], iteration, at[1]))


def evaluate(
    run: RunPath,
    iteration: Annotated[
        int | None,
        typer.Option("--iteration", min=0, help="Which turn; leave it out for the policy before the first."),
    ] = None,
    shard: ShardOption = "1/1",
    rest: Annotated[
        bool, typer.Option("--rest", help="The test sets that the iteration left out, as at a run's end.")
    ] = False,
    metrics_port: MetricsPort = None,
) -> None:
    """Measure accuracy, and exploration at every temperature."""
    from mstar.evaluation import REST
    from mstar.evaluation import evaluate as stage

    share, folder_name = _shard(shard), REST if rest else ""
    _perform(
        "evaluate",
        run,
        iteration,
        metrics_port,
        lambda *at: stage(at[0], iteration, share, at[1], rest),
        folder_name,
    )


def adapt(run: RunPath, iteration: Iteration, metrics_port: MetricsPort = None) -> None:
    """Decide the next temperature, and write what the next iteration starts from."""
    from mstar.adaptation import adapt as stage

    _perform("adapt", run, iteration, metrics_port, lambda *at: stage(at[0], iteration, at[1]))


def _perform(
    name: str,
    run: str,
    iteration: int | None,
    metrics_port: int | None,
    stage: "Callable[[RunDir, Progress], object]",
    folder_name: str = "",
) -> None:
    """One stage of a run that was started; its metrics and its tracked figures are those of the loop."""
    from mstar.progress import build_progress
    from mstar.run_metrics import open_metrics
    from mstar.starting import open_run
    from mstar.tracking import open_tracking

    opened, progress = open_run(run), build_progress()
    with open_metrics(opened, metrics_port, progress) as metrics, open_tracking(opened) as tracking:
        metrics.begin(name, iteration)
        result = stage(opened, progress)
        metrics.observe_stage(folder_name or name, iteration, result)
        tracking.observe_stage(folder_name or name, iteration, result)


def _shard(text: str) -> "Shard":
    from mstar.stages import Shard

    return Shard.parse(text)


STAGE_COMMANDS = (generate, score, select, train, evaluate, adapt)
