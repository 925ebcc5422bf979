"""The report of a run as a task of Kubeflow Pipelines."""

from kfp import dsl
from kfp.dsl import PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER as EXECUTOR_INPUT


@dsl.container_component
def report(run: str, metrics: dsl.Output[dsl.Metrics], page: dsl.Output[dsl.HTML]):
    """Build the report of a run, and show it."""
    return dsl.ContainerSpec(
        image="mstar-slim",
        command=["mstar", "report"],
        args=[run, "--page", page.path, "--executor-input", EXECUTOR_INPUT],
    )
