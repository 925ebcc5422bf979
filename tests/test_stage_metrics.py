"""Stage commands on their own: their metrics are those of the loop."""

import time
import urllib.error
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from mstar import stage_commands
from mstar.config import Config
from mstar.metrics import Metrics
from mstar.metrics_server import MetricsServer
from mstar.stages import EVALUATE, GENERATE
from mstar.starting import open_run, start_run
from tests.commands import start
from tests.serving import free_port
from tests.test_metrics import Series, read_series, scrape
from tests.test_starting import Heard

MakeConfig = Callable[..., Config]


def watch(port: int, process: BaseProcess) -> set[str]:
    """The names of all series that were to be seen while the process ran."""
    seen: set[str] = set()
    while process.is_alive():
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            seen |= {name for name, _ in scrape(port)}
        time.sleep(0.05)
    return seen


def test_a_stage_command_serves_the_metrics_of_the_loop(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(generate={"samples_per_problem": 2, "max_tokens": 20, "problems_per_chunk": 8})
    start_run(config)
    port = free_port()
    process = start("generate", "--run", config.output, "--iteration", "0", "--metrics-port", str(port))
    seen = watch(port, process)
    assert process.exitcode == 0
    metrics = Metrics(config.name, 2)
    metrics.begin("generate", 0, 1.0)
    of_the_loop = {sample.name for family in metrics.collect() for sample in family.samples}
    assert {"mstar_temperature", "mstar_responses_total"} <= of_the_loop <= seen


def test_the_series_are_there_while_the_stage_is_at_work(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counters at 0 and the iteration, so that a stage that takes hours is seen before its end."""
    run, port = start_run(make_config()), free_port()
    seen: list[Series] = []
    monkeypatch.setattr("mstar.generation.generate", lambda *given: seen.append(scrape(port)))
    monkeypatch.setattr("mstar.metrics_server.LAST_SCRAPE_SECONDS", 0.0)
    stage_commands.generate(run.config.output, 0, metrics_port=port)
    expected = Metrics(run.config.name, 2)
    expected.begin("generate", 0, run.state(0).temperature)
    (at_work,) = seen
    assert at_work == read_series(generate_latest(expected).decode()) != {}


def test_the_result_is_there_until_it_has_been_read(make_config: MakeConfig) -> None:
    """By whoever asks only now and then, as Prometheus does; then the command ends."""
    config = make_config(generate={"samples_per_problem": 2, "max_tokens": 20, "problems_per_chunk": 8})
    start_run(config)
    port = free_port()
    process = start("generate", "--run", config.output, "--iteration", "0", "--metrics-port", str(port))
    run = open_run(config.output)
    while not run.is_finished(GENERATE.name, 0):
        assert process.is_alive()
        time.sleep(0.05)
    time.sleep(1)
    sampled = (("outcome", "sampled"), ("run", config.name), ("stage", "generate"))
    assert scrape(port)[("mstar_responses_total", frozenset(sampled))] == run.result(GENERATE, 0).responses
    process.join(10)
    assert process.exitcode == 0


def test_a_signal_ends_the_waiting_and_what_is_done_counts(make_config: MakeConfig) -> None:
    run = start_run(make_config())
    port = free_port()
    process = start("evaluate", "--run", run.config.output, "--metrics-port", str(port))
    while not run.is_finished(EVALUATE.name, None):
        assert process.is_alive()
        time.sleep(0.05)
    time.sleep(1)
    process.terminate()
    process.join(10)
    assert process.exitcode == 0


def test_who_was_never_asked_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    server, heard = MetricsServer(Metrics("strips", 2), "strips"), Heard()
    with server.serve(0):
        served_from = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: served_from + 31)
        server.await_scrape(heard)
    assert heard.lines == []
