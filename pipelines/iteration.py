"""The pipeline `mstar-iteration`: one turn of the loop, for a run that was prepared.

Where sampling, scoring and evaluating are shared, every share is a task, and the last one to end puts the
parts together. A stage that is finished is left alone.
"""

from kfp import dsl

from mstar.config_cluster import Cluster
from mstar.kubeflow.components.adapt.component import adapt
from mstar.kubeflow.components.evaluate.component import evaluate
from mstar.kubeflow.components.generate.component import generate
from mstar.kubeflow.components.score.component import score
from mstar.kubeflow.components.select.component import select
from mstar.kubeflow.components.train.component import train
from mstar.kubeflow.pipelines.placing import placed


def build_iteration(cluster: Cluster):
    """The pipeline for a cluster."""

    @dsl.pipeline(
        name="mstar-iteration",
        description="One iteration of a run: generate, score, select, train, evaluate, adapt.",
        pipeline_config=dsl.PipelineConfig(ttl_seconds_after_finished=cluster.ttl_seconds),
    )
    def iteration(run: str, iteration: int, shares: list, skip: bool = False):
        """One iteration.

        Args:
            run: The address of a run that was prepared.
            iteration: Which one, from 0.
            shares: The shares of sampling, scoring and evaluating, ["1/2", "2/2"] for two pods.
            skip: Do nothing.
        """
        at = {"run": run, "iteration": iteration}
        with dsl.If(skip == False, name="stages"):  # noqa: E712
            with dsl.ParallelFor(shares, name="generate") as shard:
                generated = placed(generate(**at, shard=shard), cluster)
            with dsl.ParallelFor(shares, name="score") as shard:
                scored = placed(score(**at, shard=shard), cluster).after(generated)
            selected = placed(select(**at), cluster).after(scored)
            trained = placed(train(**at), cluster).after(selected)
            with dsl.ParallelFor(shares, name="evaluate") as shard:
                evaluated = placed(evaluate(**at, shard=shard), cluster).after(trained)
            placed(adapt(**at), cluster).after(evaluated)

    return iteration
