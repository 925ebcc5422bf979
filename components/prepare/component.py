"""The beginning of a run as a task of Kubeflow Pipelines."""

from kfp import dsl
from kfp.dsl import PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER as EXECUTOR_INPUT


@dsl.container_component
def prepare(
    config: str,
    overrides: list,
    iterations: int,
    at_most: int,
    shards: int,
    run: dsl.OutputPath(str),
    shares: dsl.OutputPath(list),
):
    """Check the config and everything that it names, and write the folder of the run."""
    return dsl.ContainerSpec(
        image="mstar-rollout",
        command=["mstar", "prepare"],
        args=[
            config,
            "--overrides",
            overrides,
            "--iterations",
            iterations,
            "--at-most",
            at_most,
            "--shards",
            shards,
            "--executor-input",
            EXECUTOR_INPUT,
        ],  # fmt: skip
    )
