"""The pipeline `mstar-evolve`: what a person starts in the UI. A whole run, from its config to its report.

An iteration that is finished, or that the run does not have, is one short task. What is measured before the
first and after the last is a pipeline of its own: kfp's local runner knows loops and conditions over inputs
of a pipeline, and not over what a task found.
"""

from kfp import dsl

from mstar.config_cluster import Cluster
from mstar.kubeflow.components.begin.component import begin
from mstar.kubeflow.components.evaluate.component import evaluate_rest, evaluate_start
from mstar.kubeflow.components.prepare.component import prepare
from mstar.kubeflow.components.report.component import report
from mstar.kubeflow.pipelines.iteration import build_iteration
from mstar.kubeflow.pipelines.placing import placed


def build_evolve(cluster: Cluster):
    """The pipeline for a cluster, with room for `cluster.turns` iterations."""
    iteration = build_iteration(cluster)

    @dsl.pipeline(name="mstar-start", description="Measure the policy before the first iteration.")
    def start(run: str, shares: list):
        with dsl.ParallelFor(shares, name="evaluate") as shard:
            placed(evaluate_start(run=run, shard=shard), cluster, "evaluate")

    @dsl.pipeline(name="mstar-rest", description="Measure the last policy on the test sets still left out.")
    def rest(run: str, shares: list):
        with dsl.ParallelFor(shares, name="evaluate") as shard:
            placed(evaluate_rest(run=run, shard=shard), cluster, "evaluate")

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
        asked = {"config": config, "overrides": overrides, "iterations": iterations, "shards": shards}
        prepared = placed(prepare(**asked, at_most=cluster.turns), cluster)
        run, shares = prepared.outputs["run"], prepared.outputs["shares"]
        done = start(run=run, shares=shares).set_display_name("start")
        for number in range(cluster.turns):
            begun = placed(begin(run=run, iteration=number), cluster).after(done)
            begun.set_display_name(f"begin {number}")
            done = iteration(run=run, iteration=number, shares=shares, skip=begun.outputs["skip"])
            done.set_display_name(f"iteration {number}")
        done = rest(run=run, shares=shares).after(done).set_display_name("rest")
        placed(report(run=run), cluster).after(done)

    return evolve
