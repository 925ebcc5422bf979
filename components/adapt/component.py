"""The stage `adapt` as a task of Kubeflow Pipelines."""

from kfp import dsl
from kfp.dsl import PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER as EXECUTOR_INPUT


@dsl.container_component
def adapt(
    run: str,
    iteration: int,
    next_temperature: dsl.OutputPath(float),
    stop: dsl.OutputPath(bool),
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
):
    """Decide the next temperature, and show the run so far."""
    return dsl.ContainerSpec(
        image="mstar-slim",
        command=["mstar", "adapt"],
        args=[
            "--run",
            run,
            "--iteration",
            iteration,
            "--page",
            report.path,
            "--executor-input",
            EXECUTOR_INPUT,
        ],  # fmt: skip
    )
