"""Every Prometheus metric of mstar, and the server that shows them while a run lasts.

The one place where metrics are named. All carry the label `run`; the other labels take few values (stages,
outcomes, names of test sets, temperatures of the grid, powers of two), never ids or paths. Counters count
what this process has seen since it started, finished stages of earlier starts included. What vLLM measures,
where it samples, is shown beside them.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Metric, start_http_server
from prometheus_client.registry import Collector

from mstar.errors import UserError
from mstar.records import Decision, Report, Sampled, Scored, Selected, Trained
from mstar.rundir import RunDir

VLLM = "vllm:"
"""Beginning of the names that vLLM gives its metrics."""
OUTCOMES = ("sampled", "truncated", "correct", "duplicate", "kept")

REMEDIES = {
    errno.EADDRINUSE: "that port is in use; choose another one, or null to serve no metrics",
    errno.EACCES: "that port is reserved for the system; choose one above 1023, or null to serve no metrics",
}


class Metrics:
    """The metrics of one run, in a registry of their own. `reward_pass_k` is the run's `adapt.k`."""

    def __init__(self, run_name: str, reward_pass_k: int) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(VllmMetrics(run_name))
        self._run = run_name
        self._reward_pass_k = str(reward_pass_k)
        self._iteration = self._gauge("mstar_iteration", "Iteration at work, from 0.")
        self._temperature = self._gauge("mstar_temperature", "Sampling temperature of that iteration.")
        self._accuracy = self._gauge(
            "mstar_accuracy_ratio", "Greedy accuracy on a test set, last measured.", "test"
        )
        self._pass = self._gauge(
            "mstar_pass_ratio",
            "Share of validation problems solved by any of k responses.",
            "k",
            "temperature",
        )
        self._reward_pass = self._gauge(
            "mstar_reward_pass_ratio",
            "The same among the k responses of highest PRM score.",
            "k",
            "temperature",
        )
        self._responses = self._counter("mstar_responses", "Responses by what became of them.", "outcome")
        self._stage_seconds = self._gauge(
            "mstar_stage_duration_seconds", "Wall clock of a stage when it was last run.", "stage"
        )
        self._tokens = self._counter("mstar_tokens", "Response tokens generated or trained on.", "stage")
        self._timed_out = self._counter("mstar_answer_checks_timed_out", "Answer checks that were killed.")
        self._failed = self._counter("mstar_answer_checks_failed", "Answer checks that raised an error.")
        self._unusable = self._counter("mstar_unusable_problems", "Problems that the model cannot read.")
        self._loss = self._gauge("mstar_loss", "Training loss at the end of an iteration.")
        for outcome in OUTCOMES:
            self._responses.labels(run_name, outcome)
        for counter in (self._timed_out, self._failed, self._unusable):
            counter.labels(run_name)

    def begin_iteration(self, iteration: int, temperature: float) -> None:
        """Say which iteration is at work, and how hot it samples."""
        self._iteration.labels(self._run).set(iteration)
        self._temperature.labels(self._run).set(temperature)

    def observe_stage(self, stage: str, iteration: int | None, result: object, seconds: float) -> None:
        """Take in a finished stage's result; None where other shards still owe parts."""
        self._stage_seconds.labels(self._run, stage).set(seconds)
        if iteration is not None:
            self._iteration.labels(self._run).set(iteration)
        match result:
            case Sampled():
                self._count(sampled=result.responses, truncated=result.truncated)
                self._tokens.labels(self._run, stage).inc(result.response_tokens)
                self._unusable.labels(self._run).inc(len(result.unusable))
            case Scored():
                self._count(correct=result.correct)
                self._timed_out.labels(self._run).inc(result.timed_out)
                self._failed.labels(self._run).inc(result.failed)
            case Selected():
                self._count(duplicate=result.duplicates, kept=result.kept)
            case Trained():
                self._tokens.labels(self._run, stage).inc(result.response_tokens)
                if result.loss is not None:
                    self._loss.labels(self._run).set(result.loss)
            case Report():
                self.observe_report(result)
            case Decision():
                self._temperature.labels(self._run).set(result.temperature)

    def _count(self, **outcomes: int) -> None:
        for outcome, responses in outcomes.items():
            self._responses.labels(self._run, outcome).inc(responses)

    def observe_report(self, report: Report) -> None:
        """Take in what `evaluate` measured; what it did not measure this time keeps its last value."""
        for name, test in report.tests.items():
            self._accuracy.labels(self._run, name).set(test.accuracy.value)
        for row in report.temperatures:
            temperature = f"{row.temperature:g}"
            for k, estimate in row.pass_at_k.items():
                self._pass.labels(self._run, str(k), temperature).set(estimate.value)
            if row.reward_pass_at_k:
                reward_pass = self._reward_pass.labels(self._run, self._reward_pass_k, temperature)
                reward_pass.set(row.reward_pass_at_k.value)

    @contextmanager
    def serve(self, port: int) -> Iterator[int]:
        """Serve the metrics on all interfaces while the block lasts; yields the port (0: any free one)."""
        try:
            server, thread = start_http_server(port, registry=self.registry)
        except OSError as error:
            reason = REMEDIES.get(
                error.errno or 0, f"it cannot be opened ({error.strerror}); choose another one"
            )
            raise UserError(f"tracking.metrics_port is {port}; {reason}") from error
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(name, meaning, ["run", *labels], registry=self.registry)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, ["run", *labels], registry=self.registry)


class VllmMetrics(Collector):
    """The metrics that vLLM keeps of itself in this process, under its own names, with the label `run`."""

    def __init__(self, run_name: str) -> None:
        self.labels = {"run": run_name}

    def collect(self) -> Iterator[Metric]:
        for metric in REGISTRY.collect():
            if metric.name.startswith(VLLM):
                metric.samples = [one._replace(labels=one.labels | self.labels) for one in metric.samples]
                yield metric

    def describe(self) -> list[Metric]:
        """None are known before vLLM has started."""
        return []


@contextmanager
def serve_metrics(run: RunDir, port: int | None) -> Iterator[Metrics]:
    """The metrics of a run; served on the port, if there is one, as long as the block lasts."""
    metrics = Metrics(run.config.name, run.config.adapt.k)
    with metrics.serve(port) if port else nullcontext():
        yield metrics
