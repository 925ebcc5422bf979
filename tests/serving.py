"""Servers of the tests: small ones of their own, in a thread, and others' programs, in a process."""

import os
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from socketserver import BaseServer
from typing import TypeVar

Served = TypeVar("Served", bound=BaseServer)


@contextmanager
def serving(server: Served) -> Iterator[Served]:
    """As long as the block lasts."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Server:
    """A process that answers at a port of this machine."""

    port: int
    _process: subprocess.Popen[bytes]

    def _listen(self, command: list[str], ready: str | None = None, **environment: str) -> None:
        """Starts it, and waits until it answers; where it has a path that says so, until that is well."""
        self._process = subprocess.Popen(
            command, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(self.port)
        if ready is not None:
            wait_until_ready(f"http://127.0.0.1:{self.port}{ready}")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def wait_for(port: int) -> None:
    """Until something answers there."""
    for _ in range(600):
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"nothing answers at port {port}")


def wait_until_ready(address: str) -> None:
    """A server may listen before it can answer: until then it says 503."""
    for _ in range(600):
        try:
            with urllib.request.urlopen(address, timeout=10):
                return
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE:
                raise
        time.sleep(0.05)
    raise RuntimeError(f"{address} does not get ready")
