"""The pipeline `mstar-evolve`: what a person starts in the UI. A whole run, from its config to its report."""

from kfp import dsl

from mstar.config_cluster import Cluster
from mstar.kubeflow.components.evaluate.component import evaluate_rest, evaluate_start
from mstar.kubeflow.components.prepare.component import prepare
from mstar.kubeflow.components.report.component import report
from mstar.kubeflow.pipelines.iteration import build_iteration
from mstar.kubeflow.pipelines.placing import placed


def build_evolve(cluster: Cluster):
    """The pipeline for a cluster, with room for `cluster.turns` iterations."""
    iteration = build_iteration(cluster)

    @dsl.pipeline(
        name="mstar-evolve",
        description="A model learns from its own best responses. Started again, a run goes on.",
        pipeline_config=dsl.PipelineConfig(ttl_seconds_after_finished=cluster.ttl_seconds),
    )
    def evolve(config: str, overrides: list = [], iterations: int = 0, shards: int = cluster.shards):  # noqa: B006
        """Self-evolving training.

        Args:
            config: The YAML of the run, or its address, s3://bucket/config.yaml.
            overrides: Settings that go before the config's, ["generate.temperature=0.7"].
            iterations: Turns of the loop; 0 takes what the config says.
            shards: Pods that share sampling, scoring and evaluating.
        """
        prepared = placed(
            prepare(
                config=config,
                overrides=overrides,
                iterations=iterations,
                at_most=cluster.turns,
                shards=shards,
            ),
            cluster,
        )
        run = prepared.outputs["run"]
        with dsl.ParallelFor(prepared.outputs["shares"], name="evaluate-start") as shard:
            done = placed(evaluate_start(run=run, shard=shard), cluster, "evaluate")
        for number in range(cluster.turns):
            turn = iteration(run=run, iteration=number, shards=shards).after(done)
            done = turn.set_display_name(f"iteration-{number}")
        with dsl.ParallelFor(prepared.outputs["shares"], name="evaluate-rest") as shard:
            last = placed(evaluate_rest(run=run, shard=shard), cluster, "evaluate").after(done)
        placed(report(run=run), cluster).after(last)

    return evolve
