"""Servers of the tests: small ones of their own, in a thread, and others' programs, in a process."""

import os
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
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
        """Starts it, and waits until it answers; where it has a path that says so, until it is ready."""
        self._process = subprocess.Popen(
            command, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(self.port)
        if ready is not None:
            wait_until_ready(f"127.0.0.1:{self.port}{ready}")

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


def wait_until_ready(place: str) -> None:
    """A server takes connections earlier, and may then refuse a request, or let it wait for a minute."""
    unchecked = ssl._create_unverified_context()
    for _ in range(600):
        for scheme in ("http", "https"):
            with suppress(OSError, HTTPException):
                urllib.request.urlopen(f"{scheme}://{place}", timeout=1, context=unchecked).close()
                return
        time.sleep(0.05)
    raise RuntimeError(f"{place} does not get ready")
