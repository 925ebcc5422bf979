"""The check of a run's files as a task of Kubeflow Pipelines."""

from kfp import dsl
from kfp.dsl import PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER as EXECUTOR_INPUT


@dsl.container_component
def verify(run: str, metrics: dsl.Output[dsl.Metrics], findings: dsl.Output[dsl.Markdown]):
    """Read all that counts in a run; the task fails where something is damaged or missing."""
    return dsl.ContainerSpec(
        image="mstar-slim",
        command=["mstar", "verify"],
        args=[run, "--page", findings.path, "--executor-input", EXECUTOR_INPUT],
    )
