"""The stage `select` as a task of Kubeflow Pipelines."""

from kfp import dsl
from kfp.dsl import PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER as EXECUTOR_INPUT


@dsl.container_component
def select(run: str, iteration: int, metrics: dsl.Output[dsl.Metrics]):
    """Keep the best responses of an iteration."""
    return dsl.ContainerSpec(
        image="mstar-slim",
        command=["mstar", "select"],
        args=[
            "--run",
            run,
            "--iteration",
            iteration,
            "--executor-input",
            EXECUTOR_INPUT,
        ],  # fmt: skip
    )
