"""Metrics for Prometheus by way of a Pushgateway, for stages that are over before anybody scrapes them.

A stage's metrics are one group there, `job="mstar"` with the run and the stage, which the next iteration
replaces. A thread pushes, so that no stage waits; what the gateway does not take is told of once and sent
again with the next push. At the end of the run the groups are deleted, when Prometheus has had time to read
them.
"""

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from urllib.parse import unquote

from prometheus_client.exposition import basic_auth_handler, delete_from_gateway, push_to_gateway
from prometheus_client.registry import Collector

from mstar.config import Config
from mstar.errors import UserError
from mstar.metrics_server import LAST_SCRAPE_SECONDS
from mstar.progress import QUIET, Progress
from mstar.stages import STAGE_NAMES
from mstar.stopping import Stopped

ADDRESS = "MSTAR_PUSHGATEWAY"
"""The variable with the gateway's address, with user and password where it asks for them."""
JOB = "mstar"
ANSWER_SECONDS = 3.0
"""The longest that one request waits for the gateway."""
PATIENCE_SECONDS = 5.0
"""The longest that the end of a command waits for what is still to be pushed."""
log = logging.getLogger("mstar")


class Gateway:
    """A Pushgateway, for one run. `handler` is what prometheus_client makes its requests with."""

    def __init__(self, address: str, run_name: str, handler: Callable[..., Any] = basic_auth_handler) -> None:
        self.address = address
        self._run = run_name
        self._options: dict[str, Any] = {"timeout": ANSWER_SECONDS, "handler": handler}
        self._pending: dict[str, Collector | None] = {}
        self._has_news = self._is_closed = self._has_warned = False
        self._is_idle = True
        self._changed = threading.Condition()
        threading.Thread(target=self._work, name="pushgateway", daemon=True).start()

    def push(self, stage: str, metrics: Collector) -> None:
        """Have a stage's group replaced, soon."""
        self._ask({stage: metrics})

    def delete(self) -> None:
        """Have the groups of all stages deleted, soon."""
        self._ask(dict.fromkeys(STAGE_NAMES))

    def wait(self) -> bool:
        """Wait for what was asked for, as long as the gateway answers; whether all of it has been done."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_idle, PATIENCE_SECONDS):
                self._warn(f"no answer for {PATIENCE_SECONDS:.0f} s")
            return not self._pending

    def close(self) -> None:
        """Nothing more comes; what is pending is let go."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _ask(self, wanted: dict[str, Collector | None]) -> None:
        with self._changed:
            self._pending |= wanted
            self._has_news, self._is_idle = True, False
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._has_news or self._is_closed)
                if self._is_closed:
                    return
                self._has_news = False
                pending = dict(self._pending)
            self._attempt(pending)
            with self._changed:
                self._is_idle = not self._has_news
                self._changed.notify_all()

    def _attempt(self, pending: dict[str, Collector | None]) -> None:
        """Whatever goes wrong at the gateway is no trouble of the run; what is pending stays so."""
        try:
            for stage, metrics in pending.items():
                self._send(stage, metrics)
                with self._changed:
                    if self._pending[stage] is metrics:
                        del self._pending[stage]
        except Exception as error:
            self._warn(str(error).strip().partition("\n")[0] or type(error).__name__)

    def _send(self, stage: str, metrics: Collector | None) -> None:
        group = {"run": self._run, "stage": stage}
        if metrics is None:
            delete_from_gateway(self.address, JOB, group, **self._options)
        else:
            push_to_gateway(self.address, JOB, metrics, group, **self._options)

    def _warn(self, reason: str) -> None:
        if not self._has_warned:
            log.warning(
                "%s does not take the run's metrics (%s); the run goes on without it, and pushes them again "
                "after the next stage",
                self.address,
                reason,
            )
        self._has_warned = True


@contextmanager
def open_gateway(config: Config) -> Iterator[Gateway | None]:
    """The gateway of a run as long as the block lasts, and until it has what was pushed; None where neither
    the configuration nor the environment names one.
    """
    if (gateway := find_gateway(config)) is None:
        yield None
        return
    try:
        yield gateway
        gateway.wait()
    finally:
        gateway.close()


def find_gateway(config: Config) -> Gateway | None:
    """UserError where the environment's address is none."""
    if config.tracking.pushgateway is not None:
        return Gateway(config.tracking.pushgateway, config.name)
    named = os.environ.get(ADDRESS)
    if not named:
        return None
    found = re.fullmatch(r"(https?://)(?:([^/@\s:]+):([^/@\s]+)@)?([^/@\s]+(?:/[^@\s]*)?)", named)
    if found is None:
        raise UserError(
            f"{ADDRESS} is no address; write http://host:9091 or https://user:password@host, with user and "
            "password percent-encoded"
        )
    scheme, user, password, place = found.groups()
    if not user:
        return Gateway(scheme + place, config.name)
    handler = partial(basic_auth_handler, username=unquote(user), password=unquote(password))
    return Gateway(scheme + place, config.name, handler)


def retire(gateway: Gateway, last_success: float, progress: Progress = QUIET) -> None:
    """Delete a run's groups. Prometheus gets time to read them, counted from `last_success` (in Unix time):
    a signal ends the waiting and nothing else.
    """
    seconds = min(LAST_SCRAPE_SECONDS, last_success + LAST_SCRAPE_SECONDS - time.time())
    if gateway.wait() and seconds > 0:
        progress.note(f"done; in {seconds:.0f} s its metrics are deleted from {gateway.address}")
        with suppress(Stopped):
            time.sleep(seconds)
    gateway.delete()
    gateway.wait()
