"""Every Prometheus metric of mstar, and the server that shows them while a run lasts.

The one place where metrics are named. All carry the label `run`; the other labels take few values (stages,
outcomes, names of test sets, temperatures of the grid, powers of two), never ids or paths. Counters count
what this process has seen since it started, finished stages of earlier starts included. What vLLM measures,
where it samples, is shown beside them. A command that is done waits until its last values have been read:
they end with it.
"""

import errno
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Metric,
    make_wsgi_app,
    start_http_server,
)
from prometheus_client.registry import Collector

from mstar.errors import UserError
from mstar.progress import QUIET, Progress
from mstar.records import Decision, Report, Sampled, Scored, Selected, Trained
from mstar.rundir import RunDir
from mstar.stopping import Stopped

LAST_SCRAPE_SECONDS = 30.0
"""Two of Prometheus's usual intervals; whoever has not asked for so long will not."""
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
        self._scraped = threading.Event()
        self._served_from = time.monotonic()
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
        self._unusable = self._counter(
            "mstar_unusable_problems",
            "Problems that the policy (generate) or the process reward model (score) cannot read.",
            "stage",
        )
        self._loss = self._gauge("mstar_loss", "Training loss at the end of an iteration.")
        for outcome in OUTCOMES:
            self._responses.labels(run_name, outcome)
        for counter in (self._timed_out, self._failed):
            counter.labels(run_name)
        for stage in ("generate", "score"):
            self._unusable.labels(run_name, stage)

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
                self._unusable.labels(self._run, stage).inc(len(result.unusable))
            case Scored():
                self._count(correct=result.correct)
                self._timed_out.labels(self._run).inc(result.timed_out)
                self._failed.labels(self._run).inc(result.failed)
                self._unusable.labels(self._run, stage).inc(len(result.unusable))
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
        server.set_app(self._watched(make_wsgi_app(self.registry)))
        self._served_from = time.monotonic()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def await_scrape(self, progress: Progress = QUIET) -> None:
        """Wait until somebody has read what is there now; not where nobody seems to read at all. What is
        done is done: a signal ends the waiting and nothing else.
        """
        is_read, served = self._scraped.is_set(), time.monotonic() - self._served_from
        self._scraped = threading.Event()
        if is_read or served < LAST_SCRAPE_SECONDS:
            progress.note(f"done; waits up to {LAST_SCRAPE_SECONDS:.0f} s for its metrics to be read")
            with suppress(Stopped):
                self._scraped.wait(LAST_SCRAPE_SECONDS)

    def _watched(self, answer: Callable[..., Any]) -> Callable[..., Any]:
        """The application, which notes when an answer that was begun from now on has been sent."""
        return lambda environ, respond: _Body(answer(environ, respond), self._scraped)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(name, meaning, ["run", *labels], registry=self.registry)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, ["run", *labels], registry=self.registry)


@dataclass(frozen=True, slots=True)
class _Body:
    """The body of an answer; the server closes it when all of it has been sent."""

    parts: Iterable[bytes]
    sent: threading.Event

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.parts)

    def close(self) -> None:
        self.sent.set()


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
def serve_metrics(run: RunDir, port: int | None, progress: Progress = QUIET) -> Iterator[Metrics]:
    """The metrics of a run; served on the port, if there is one, as long as the block lasts, and until what
    it has left has been read.
    """
    metrics = Metrics(run.config.name, run.config.adapt.k)
    if port is None:
        yield metrics
        return
    with metrics.serve(port):
        yield metrics
        metrics.await_scrape(progress)
