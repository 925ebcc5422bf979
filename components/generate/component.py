"""The stage `generate` as a task of Kubeflow Pipelines."""

from kfp import dsl
from kfp.dsl import PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER as EXECUTOR_INPUT


@dsl.container_component
def generate(run: str, iteration: int, shard: str, metrics: dsl.Output[dsl.Metrics]):
    """Sample responses to an iteration's problems, one share of them."""
    return dsl.ContainerSpec(
        image="mstar-rollout",
        command=["mstar", "generate"],
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
