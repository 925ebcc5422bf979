"""Worker processes for comparisons that need algebra, each killed at its deadline and replaced.

`SymbolicWorkers` starts none before the first question. A worker is a fresh Python process that talks over
pipes (`worker.serve`): it imports math-verify and sympy, never torch and never the caller's main module.
Questions may come from several threads; each takes an idle worker, or waits for one.
"""

from __future__ import annotations

import json
import os
import queue
import select
import subprocess
import sys
import time
from typing import Any, Literal

START_SECONDS = 120.0
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from mstar.answers.worker import serve; serve(int(sys.argv[2]), float(sys.argv[3]))"
)


class DeadlineExceeded(Exception):
    """A question was not answered before its deadline; the worker has been killed."""


class WorkerDied(Exception):
    """The worker process ended while it was asked (out of memory, or killed from outside)."""


class SymbolicWorkers:
    """Up to `workers` processes, started when first needed."""

    def __init__(self, deadline_seconds: float, workers: int) -> None:
        self.deadline_seconds = deadline_seconds
        self._slots: queue.LifoQueue[_Worker] = queue.LifoQueue()
        self._workers = [_Worker(deadline_seconds) for _ in range(workers)]
        for worker in self._workers:
            self._slots.put(worker)

    def ask(self, kind: Literal["equal", "parses"], gold: str, answer: str = "") -> Any:
        """The reply of `worker.serve`. Raises DeadlineExceeded, WorkerDied; RuntimeError if none can be
        started.
        """
        worker = self._slots.get()
        try:
            return worker.ask([kind, gold, answer])
        finally:
            self._slots.put(worker)

    def process_ids(self) -> list[int]:
        return [worker.process.pid for worker in self._workers if worker.process is not None]

    def close(self) -> None:
        """Ends every worker; a later question starts new ones."""
        for worker in self._workers:
            worker.stop()


class _Worker:
    def __init__(self, deadline_seconds: float) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self._deadline_seconds = deadline_seconds

    def ask(self, question: list[str]) -> Any:
        process = self._running()
        message = json.dumps(question).encode() + b"\n"
        try:
            os.write(process.stdin.fileno(), message)  # type: ignore[union-attr]
            return _read_line(process, self._deadline_seconds)["reply"]
        except BrokenPipeError as error:
            self.stop()
            raise WorkerDied("the worker for expressions ended before it was asked") from error
        except BaseException:
            self.stop()
            raise

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is not None and self.process.poll() is None:
            return self.process
        self.stop()
        arguments = [json.dumps(sys.path), str(os.getpid()), str(self._deadline_seconds + 1)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", _START, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        try:
            _read_line(self.process, START_SECONDS)
        except (DeadlineExceeded, WorkerDied) as error:
            self.stop()
            raise RuntimeError(
                "the worker for expressions did not start (its error is above); "
                "it needs math-verify: pip install 'math-verify[antlr4_13_2]'"
            ) from error
        return self.process

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _read_line(process: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
    """The next message; DeadlineExceeded, or WorkerDied at the process's end."""
    assert process.stdout is not None
    deadline, received = time.monotonic() + seconds, b""
    while not received.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            raise DeadlineExceeded(f"no reply within {seconds} s")
        chunk = os.read(process.stdout.fileno(), 65536)
        if not chunk:
            raise WorkerDied("the worker for expressions ended while it was asked")
        received += chunk
    message: dict[str, Any] = json.loads(received)
    return message
