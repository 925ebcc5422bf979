"""The stage `score` as a task of Kubeflow Pipelines."""

from kfp import dsl
from kfp.dsl import PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER as EXECUTOR_INPUT


@dsl.container_component
def score(run: str, iteration: int, shard: str, metrics: dsl.Output[dsl.Metrics]):
    """Check the answers of an iteration's responses and score their steps, one share of them."""
    return dsl.ContainerSpec(
        image="mstar-rollout",
        command=["mstar", "score"],
        args=[
            "--run",
            run,
            "--iteration",
            iteration,
            "--shard",
            shard,
            "--executor-input",
            EXECUTOR_INPUT,
        ],  # fmt: skip
    )
