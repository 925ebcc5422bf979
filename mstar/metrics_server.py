"""The server that shows a run's metrics to Prometheus while a command lasts.

What vLLM measures, where it samples, is shown beside them. A command that is done waits until its last values
have been read: they end with it.
"""

import errno
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, Metric, make_wsgi_app, start_http_server
from prometheus_client.registry import Collector

from mstar.errors import UserError
from mstar.progress import QUIET, Progress
from mstar.stopping import Stopped

LAST_SCRAPE_SECONDS = 30.0
"""Two of Prometheus's usual intervals; whoever has not asked for so long will not."""
VLLM = "vllm:"
"""Beginning of the names that vLLM gives its metrics."""
REMEDIES = {
    errno.EADDRINUSE: "that port is in use; choose another one, or null to serve no metrics",
    errno.EACCES: "that port is reserved for the system; choose one above 1023, or null to serve no metrics",
}


class MetricsServer:
    """Shows a collector's metrics, and vLLM's, of the run of that name."""

    def __init__(self, metrics: Collector, run_name: str) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(metrics)
        self.registry.register(VllmMetrics(run_name))
        self._scraped = threading.Event()
        self._served_from = time.monotonic()

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
