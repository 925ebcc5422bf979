"""The stage `evaluate` as tasks of Kubeflow Pipelines: after an iteration, before the first, at the end."""

from kfp import dsl
from kfp.dsl import PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER as EXECUTOR_INPUT


def _spec(*arguments):
    return dsl.ContainerSpec(
        image="mstar-rollout",
        command=["mstar", "evaluate"],
        args=[*arguments, "--executor-input", EXECUTOR_INPUT],
    )


@dsl.container_component
def evaluate(run: str, iteration: int, shard: str, metrics: dsl.Output[dsl.Metrics]):
    """Measure the policy of an iteration, on one share of the problems."""
    return _spec("--run", run, "--iteration", iteration, "--shard", shard)


@dsl.container_component
def evaluate_start(run: str, shard: str, metrics: dsl.Output[dsl.Metrics]):
    """Measure the policy before the first iteration, on one share of the problems."""
    return _spec("--run", run, "--shard", shard)


@dsl.container_component
def evaluate_rest(run: str, shard: str, metrics: dsl.Output[dsl.Metrics]):
    """Measure the last policy on the test sets that its iteration left out, one share of the problems."""
    return _spec("--run", run, "--rest", "--shard", shard)
