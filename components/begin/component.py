"""The beginning of a turn of the loop as a task of Kubeflow Pipelines."""

from kfp import dsl
from kfp.dsl import PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER as EXECUTOR_INPUT


@dsl.container_component
def begin(run: str, iteration: int, skip: dsl.OutputPath(bool), metrics: dsl.Output[dsl.Metrics]):
    """Look whether an iteration is finished, or not in the run: then its stages are skipped."""
    return dsl.ContainerSpec(
        image="mstar-slim",
        command=["mstar", "begin"],
        args=["--run", run, "--iteration", iteration, "--executor-input", EXECUTOR_INPUT],
    )
