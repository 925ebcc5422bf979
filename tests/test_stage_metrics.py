"""Stage commands on their own: their metrics are those of the loop."""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from mstar.config import Config
from mstar.metrics import serve_metrics
from mstar.starting import open_run, start_run
from tests.test_metrics import free_port, scrape

MakeConfig = Callable[..., Config]


def watch(port: int, process: "subprocess.Popen[bytes]") -> set[str]:
    """The names of all series that were to be seen while the process ran."""
    seen: set[str] = set()
    while process.poll() is None:
        try:
            seen |= {name for name, _ in scrape(port)}
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    return seen


def test_a_stage_command_serves_the_metrics_of_the_loop(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(generate={"samples_per_problem": 2, "max_tokens": 20, "problems_per_chunk": 8})
    start_run(config)
    port = free_port()
    command = [sys.executable, "-m", "mstar", "generate", "--run", config.output, "--iteration", "0"]
    process = subprocess.Popen([*command, "--metrics-port", str(port)], stdout=subprocess.DEVNULL)
    seen = watch(port, process)
    assert process.wait() == 0
    with serve_metrics(open_run(config.output), None) as metrics:
        metrics.begin_iteration(0, 1.0)
        of_the_loop = {sample.name for family in metrics.registry.collect() for sample in family.samples}
    assert {"mstar_temperature", "mstar_responses_total"} <= of_the_loop <= seen
