"""A Pushgateway and a Prometheus for tests, where the programs are on PATH."""

import json
import shutil
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.serving import Server, free_port


class Pushgateway(Server):
    """Debian's or Prometheus's own; what it holds goes with it."""

    def __init__(self, *options: str, port: int | None = None) -> None:
        program = shutil.which("prometheus-pushgateway") or shutil.which("pushgateway")
        if program is None:
            pytest.skip("needs Pushgateway: apt-get install prometheus-pushgateway")
        self.port = port or free_port()
        self._listen([program, f"--web.listen-address=127.0.0.1:{self.port}", *options])

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def groups(self) -> dict[str, dict[str, str]]:
        """The labels of all groups, by their stage."""
        with urllib.request.urlopen(f"{self.address}/api/v1/metrics", timeout=10) as answer:
            found = [group["labels"] for group in json.load(answer)["data"]]
        return {labels["stage"]: labels for labels in found}


@contextmanager
def pushgateway(*options: str, port: int | None = None) -> Iterator[Pushgateway]:
    """As long as the block lasts."""
    gateway = Pushgateway(*options, port=port)
    try:
        yield gateway
    finally:
        gateway.stop()


class Prometheus(Server):
    """Scrapes one target every second, as docs/tracking.md says."""

    def __init__(self, folder: Path, scrape_config: str) -> None:
        program = need_prometheus("prometheus")
        folder.mkdir()
        (folder / "prometheus.yml").write_text(f"global: {{scrape_interval: 1s}}\n{scrape_config}")
        self.port = free_port()
        self._listen(
            [
                program,
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            ready="/-/ready",
        )

    def ask(self, query: str) -> list[dict[str, Any]]:
        """What an instant query finds."""
        address = f"http://127.0.0.1:{self.port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found


def need_prometheus(program: str) -> str:
    """The program's path; skips the test where Prometheus is not here."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"needs {program} of Prometheus on PATH")
    return found
