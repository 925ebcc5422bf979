"""A proxy in front of an S3 server that spoils requests in turn, as networks and busy servers do."""

import http.client
import itertools
import socket
import ssl
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.serving import serving

FAULTS = ("reset", "503", "429", "lost answer", "slow", "truncated", "wrong bytes")
SLOW_SECONDS = 0.2


class Proxy(ThreadingHTTPServer):
    """Every request in `every` meets the next fault; `refusal` (status, code) answers all of them instead."""

    daemon_threads = True

    def __init__(
        self, upstream: str, every: int, faults: Sequence[str], certificates: Path | None = None
    ) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self._scheme = "http"
        if certificates:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates / "public.crt", certificates / "private.key")
            self.socket = context.wrap_socket(self.socket, server_side=True)
            self._scheme = "https"
        self.upstream = urlsplit(upstream).netloc
        self.every = every
        self.refusal: tuple[int, str] | None = None
        self.refuses_listings = False
        self.seen: deque[tuple[str, Mapping[str, str]]] = deque(maxlen=1000)
        """Path and headers of the newest requests."""
        self.injected: Counter[str] = Counter()
        self.sent_bytes = 0
        """In the bodies of answers."""
        self._pending: list[str] = []
        self._faults = itertools.cycle(faults)
        self.counting = self._lock = threading.Lock()
        self.requests = 0
        self.at_once = self.most_at_once = 0
        """Requests that wait for their answer."""

    @property
    def address(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.server_address[1]}"

    def next_fault(self, command: str) -> str | None:
        """A fault that does not fit a request waits for the next one that it fits."""
        with self._lock:
            self.requests += 1
            if self.every and self.requests % self.every == 0:
                self._pending.append(next(self._faults))
            for fault in self._pending:
                if command == "GET" or fault not in ("truncated", "wrong bytes"):
                    self._pending.remove(fault)
                    return fault
        return None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that end early are its business."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def forward(self) -> None:
        self._wait(1)
        try:
            self._forward()
        finally:
            self._wait(-1)

    def _wait(self, more: int) -> None:
        with self.server.counting:
            self.server.at_once += more
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append((self.path, dict(self.headers.items())))
        if self.server.refusal:
            self._say(*self.server.refusal)
            return
        if self.server.refuses_listings and "list-type=2" in self.path:
            self._say(403, "AccessDenied")
            return
        fault = self.server.next_fault(self.command)
        if fault in ("503", "429"):
            self._count(fault)
            self._say(int(fault), "SlowDown")
            return
        if fault == "reset":
            self._count(fault)
            self._reset()
            return
        if fault == "slow":
            self._count(fault)
            time.sleep(SLOW_SECONDS)
        status, headers, data = self._ask(body)
        if fault == "lost answer":
            self._count(fault)
            self._reset()
        elif fault == "wrong bytes" and len(data) > 1 and b"<?xml" not in data[:64]:
            self._count(fault)
            self._answer(status, headers, data[:-1] + bytes([data[-1] ^ 1]))
        elif fault == "truncated" and len(data) > 1:
            self._count(fault)
            self._answer(status, headers, data, len(data) // 2)
            self._reset()
        else:
            self._answer(status, headers, data)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = forward

    def _count(self, fault: str) -> None:
        self.server.injected[fault] += 1

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=60)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders(body)
            answer = upstream.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            upstream.close()

    def _answer(
        self, status: int, headers: list[tuple[str, str]], data: bytes, sent: int | None = None
    ) -> None:
        self.send_response(status)
        left_out = ("transfer-encoding", "connection", "date", "server")
        kept = [pair for pair in headers if pair[0].lower() not in left_out]
        if self.command != "HEAD":
            kept = [pair for pair in kept if pair[0].lower() != "content-length"]
            kept.append(("Content-Length", str(len(data))))
        for name, value in kept:
            self.send_header(name, value)
        self.end_headers()
        with self.server.counting:
            self.server.sent_bytes += len(data[:sent])
        self.wfile.write(data[:sent])

    def _say(self, status: int, code: str) -> None:
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>as a test says</Message></Error>"
        self._answer(
            status, [("Content-Type", "application/xml")], b"" if self.command == "HEAD" else text.encode()
        )

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


def proxy(
    upstream: str, every: int = 0, faults: Sequence[str] = FAULTS, certificates: Path | None = None
) -> AbstractContextManager[Proxy]:
    """As long as the block lasts; with certificates it speaks TLS."""
    return serving(Proxy(upstream, every, faults, certificates))
