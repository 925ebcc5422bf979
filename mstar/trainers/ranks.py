"""The processes of a training that is spread over several: started, listened to, and ended, whatever happens.

torch's elastic launcher starts them, as `torchrun` does. They meet at a store that the stage's process holds,
and tell it there how far they are. One that dies or a silence that lasts too long ends all of them, and where
the stage's process is gone they end themselves. What they print goes to files, which stay where they fail.
"""

import io
import json
import logging
import os
import pickle
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.distributed.elastic.multiprocessing import (
    DefaultLogsSpecs,
    Std,
    SubprocessContext,
    start_processes,
)
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from mstar.errors import UserError

HOST = "127.0.0.1"
LESSON, REFUSAL, ANSWER, MESSAGE = "lesson.pickle", "refusal", "answer", "message"
FOLDER = "MSTAR_RANKS_FOLDER"
LOOK_SECONDS = 0.05
ENDING_SECONDS = 20
CONNECTING_SECONDS = 20
"""The stage is listening already when a rank comes; where it is gone by then, the rank ends after this."""
PATIENCE_SECONDS = 60
"""Ranks wait for one another so much longer than the stage waits for them: it is the one that speaks."""
CAUSE = re.compile(r"^(?:\[rank\d+\]: )?((?:\w+\.)*\w*(?:Error|Exception): \S.*)$", re.MULTILINE)
CAUSE_LENGTH = 240
MEMORY_HINT = " (train.tokens_per_micro_batch says how much a rank takes at once, see docs/trainers.md)"


class Ranks:
    """The processes, as the stage sees them. They end with `close`, whatever state they are in."""

    def __init__(self, module: str, count: int, lesson: Any, stalled_seconds: float) -> None:
        """Start `python -m module` so many times; each gets the lesson, whatever that is (see Parent)."""
        self.count = count
        self.stalled_seconds = stalled_seconds
        self.folder = Path(tempfile.mkdtemp(prefix="mstar-ranks-"))
        (self.folder / LESSON).write_bytes(pickle.dumps(lesson))
        self.store = TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
        self._keeps_logs = False
        logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
        self._processes = self._start(module)

    def messages(self) -> Iterator[dict[str, Any]]:
        """What rank 0 tells, until all ranks have ended well.

        UserError where one says why it cannot go on, where one has died, or where nothing comes for too long.
        """
        number, heard = 0, time.monotonic()
        while True:
            key = f"{MESSAGE}/{number}"
            if self.store.check([key]):
                yield json.loads(self.store.get(key))
                self.store.delete_key(key)
                number, heard = number + 1, time.monotonic()
                continue
            if self.store.check([REFUSAL]):
                raise UserError(self.store.get(REFUSAL).decode())
            if ended := self._processes.wait(0):
                if ended.is_failed():
                    self._raise_failure(ended.failures)
                if not self.store.check([key]):
                    return
            elif time.monotonic() - heard > self.stalled_seconds:
                self._fail(
                    f"took no step for {self.stalled_seconds:g} s (deepspeed.stalled_seconds) and was ended"
                )
            time.sleep(LOOK_SECONDS)

    def answer(self, text: str) -> None:
        """What rank 0 waits for after some of its messages."""
        self.store.set(ANSWER, text)

    def close(self) -> None:
        self._processes.close(signal.SIGKILL, ENDING_SECONDS)
        _close_logs(self._processes)
        if not self._keeps_logs:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, module: str) -> SubprocessContext:
        """In a thread of its own: in the main one the launcher would take over our signals."""
        shared = {"MASTER_ADDR": HOST, "MASTER_PORT": str(self.store.port), "WORLD_SIZE": str(self.count)}
        shared |= {FOLDER: str(self.folder), "LOCAL_WORLD_SIZE": str(self.count)}
        own = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(self.count)]
        with ThreadPoolExecutor(1) as thread:
            started = thread.submit(
                start_processes,
                name="trainer",
                entrypoint=sys.executable,
                args={rank: ("-m", module) for rank in range(self.count)},
                envs={rank: shared | own[rank] for rank in range(self.count)},
                logs_specs=DefaultLogsSpecs(str(self.folder), redirects=Std.ALL),
            ).result()
        assert isinstance(started, SubprocessContext)
        return started

    def _raise_failure(self, failures: Mapping[int, ProcessFailure]) -> NoReturn:
        """Name the rank that fell first: the others fall because it is gone, or are told to end."""
        if self.store.check([REFUSAL]):
            raise UserError(self.store.get(REFUSAL).decode())
        first = min(failures.values(), key=_is_a_consequence)
        log = Path(self._processes.stderrs[first.local_rank])
        if first.exitcode < 0:
            how = f"was ended by {first.signal_name()} (exit code {first.exitcode})"
            how += ", for its memory perhaps" if first.exitcode == -signal.SIGKILL else ""
        else:
            how = f"has failed (exit code {first.exitcode}): {_cause(log)}"
        self._fail(f"lost rank {first.local_rank} of {self.count}, which {how}", log)

    def _fail(self, what: str, log: Path | None = None) -> NoReturn:
        self._keeps_logs = True
        raise UserError(
            f"the training {what}; start the same command again to go on at the last checkpoint; "
            f"log: {log or self.folder}"
        )


class Parent:
    """The stage's process, as one of its ranks sees it."""

    def __init__(self) -> None:
        self.rank, self.count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self.lesson = pickle.loads((Path(os.environ[FOLDER]) / LESSON).read_bytes())
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        self.store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=CONNECTING_SECONDS))
        self._told = 0

    def wait_at_most(self, seconds: float) -> timedelta:
        """How long this rank waits for another, where the stage waits so long for all of them."""
        patience = timedelta(seconds=seconds + PATIENCE_SECONDS)
        self.store.set_timeout(patience)
        return patience

    def tell(self, **message: Any) -> None:
        """Of rank 0, a message; of the others, nothing: they see whether the stage's process is still there,
        and end with an exception where it is not.
        """
        if self.rank == 0:
            self.store.set(f"{MESSAGE}/{self._told}", json.dumps(message))
            self._told += 1
        else:
            self.store.check([REFUSAL])

    def ask(self, **message: Any) -> str:
        """Of rank 0: a message, and the answer to it."""
        self.tell(**message)
        self.store.wait([ANSWER])
        answer = self.store.get(ANSWER).decode()
        self.store.delete_key(ANSWER)
        return answer

    def refuse(self, reason: str) -> None:
        """Why this rank cannot go on, in one line for the user."""
        self.store.set(REFUSAL, reason)


def _is_a_consequence(failure: ProcessFailure) -> tuple[bool, bool]:
    """Sorts what a rank died of on its own before what it died of as others had."""
    return failure.exitcode == -signal.SIGTERM, failure.exitcode > 0


def _close_logs(processes: SubprocessContext) -> None:
    """The launcher closes those of ranks that it has ended, and no others."""
    for handler in processes.subprocess_handlers.values():
        for file in vars(handler).values():
            if isinstance(file, io.IOBase):
                file.close()


def _cause(log: Path) -> str:
    """The error that a rank ended with, as far as its log tells."""
    named = CAUSE.findall(log.read_text(encoding="utf-8", errors="replace"))
    if not named:
        return "its log does not say why"
    cause = " ".join(named[-1].split())[:CAUSE_LENGTH]
    return cause + (MEMORY_HINT if "memory" in cause else "")
