"""The stage `train` as a task of Kubeflow Pipelines."""

from kfp import dsl
from kfp.dsl import PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER as EXECUTOR_INPUT


@dsl.container_component
def train(run: str, iteration: int, metrics: dsl.Output[dsl.Metrics]):
    """Fine-tune the policy on the responses that were kept."""
    return dsl.ContainerSpec(
        image="mstar-train",
        command=["mstar", "train"],
        args=[
            "--run",
            run,
            "--iteration",
            iteration,
            "--executor-input",
            EXECUTOR_INPUT,
        ],  # fmt: skip
    )
