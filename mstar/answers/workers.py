"""Worker processes for comparisons that need algebra, each killed at its deadline and replaced.

A deadline is processor time of the worker, so verdicts on a busy machine are those of an idle one. A worker
is a fresh Python process that talks over pipes (`algebra.serve`), started for the first question: it imports
math-verify and sympy, never torch and never the caller's main module, which is why this is no pool of
`multiprocessing`. Questions may come from several threads; each takes an idle worker, or waits for one.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from typing import Literal

START_SECONDS = 120.0
STALLED_SECONDS = 60.0
"""A worker that is not run at all (stopped, or paged out) is given up after so long beyond ten deadlines."""
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from mstar.answers.algebra import serve; serve(int(sys.argv[2]), float(sys.argv[3]))"
)


class DeadlineExceeded(Exception):
    """A question was not answered before its deadline; the worker has been killed."""


class WorkerDied(Exception):
    """The worker process ended while it was asked (out of memory, or killed from outside)."""


class SymbolicWorkers:
    """Up to `workers` processes, started when first needed."""

    def __init__(self, deadline_seconds: float, workers: int) -> None:
        self._slots: queue.LifoQueue[_Worker] = queue.LifoQueue()
        self._workers = [_Worker(deadline_seconds) for _ in range(workers)]
        for worker in self._workers:
            self._slots.put(worker)

    def ask(self, kind: Literal["equal", "parses"], gold: str, answer: str = "") -> bool:
        """The reply of `algebra.serve`. Raises DeadlineExceeded, WorkerDied; RuntimeError if none can be
        started.
        """
        worker = self._slots.get()
        try:
            return worker.ask([kind, gold, answer])
        finally:
            self._slots.put(worker)

    def close(self) -> None:
        """Ends every worker; a later question starts new ones."""
        for worker in self._workers:
            worker.stop()


class _Worker:
    def __init__(self, deadline_seconds: float) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self._is_ready = False
        self._deadline_seconds = deadline_seconds

    def ask(self, question: list[str]) -> bool:
        if self.process is None or self.process.poll() is not None:
            self._start()
        try:
            self._await_start()
            os.write(self.process.stdin.fileno(), json.dumps(question).encode() + b"\n")  # type: ignore[union-attr]
            return self._reply(10 * self._deadline_seconds + STALLED_SECONDS)
        except DeadlineExceeded:
            self._start()  # so that the next question need not wait for it
            raise
        except BaseException as error:
            self.stop()
            if isinstance(error, BrokenPipeError):
                raise WorkerDied("the worker for expressions ended before it was asked") from error
            raise

    def _start(self) -> None:
        self.stop()
        arguments = [json.dumps(sys.path), str(os.getpid()), str(self._deadline_seconds)]
        command = [sys.executable, "-c", _START, *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def _await_start(self) -> None:
        try:
            self._is_ready = self._is_ready or self._reply(START_SECONDS)
        except (DeadlineExceeded, WorkerDied) as error:
            remedy = "it needs math-verify: pip install 'math-verify[antlr4_13_2]'"
            raise RuntimeError(f"the worker for expressions did not start (see above); {remedy}") from error

    def _reply(self, seconds: float) -> bool:
        """The next line. Its own timer, or so many seconds, end the process and so the wait."""
        assert self.process is not None and self.process.stdout is not None
        end = time.monotonic() + seconds
        killer = threading.Timer(seconds, self.process.kill)
        killer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            killer.cancel()
        if line.endswith(b"\n"):
            return bool(json.loads(line))
        if self.process.wait() == -signal.SIGPROF or time.monotonic() >= end:
            raise DeadlineExceeded("no reply before the deadline")
        raise WorkerDied("the worker for expressions ended while it was asked")

    def stop(self) -> None:
        process, self.process, self._is_ready = self.process, None, False
        if process is not None:
            process.kill()
            with process:  # closes its pipes and waits for it
                pass
