"""How long a stage took, and how much of that was spent inside the engine, the trainer or the process reward
model.

Written to `timing.json` beside the manifest, never into it: times differ between two equal runs.
"""

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from mstar.rundir import RunDir
from mstar.stage_notes import TIMING
from mstar.stages import stage_prefix
from mstar.storage import Storage, write_text
from mstar.stored_records import Unreadable, parse_record


class StageClock:
    """Adds up the seconds of the blocks that run inside `inside()`."""

    def __init__(self) -> None:
        self.inside_seconds = 0.0

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Time that belongs to the engine, the trainer or the process reward model."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.inside_seconds += time.perf_counter() - start

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Time within `inside` that is not its own: the engine asks for problems, and they are read."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.inside_seconds -= time.perf_counter() - start


@contextmanager
def stage_clock(storage: Storage, prefix: str) -> Iterator[StageClock]:
    """Time a stage and leave its `timing.json`; a stage that fails leaves none."""
    clock, start = StageClock(), time.perf_counter()
    yield clock
    timing = {
        "seconds": round(time.perf_counter() - start, 3),
        "inside_seconds": round(clock.inside_seconds, 3),
        "peak_memory_bytes": peak_memory_bytes(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_text(storage, f"{prefix}/{TIMING}", json.dumps(timing, indent=2) + "\n", durable=False)


def peak_memory_bytes() -> int:
    """The most memory that this process has held."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes if sys.platform == "darwin" else kilobytes * 1024


def read_seconds(run: RunDir, name: str, iteration: int | None) -> float:
    """How long a stage took; 0 where that is not known."""
    try:
        timing = parse_record(run.beside(stage_prefix(name, iteration), TIMING), dict)
        return float(timing["seconds"])
    except (FileNotFoundError, Unreadable, ValueError, KeyError, TypeError):
        return 0.0
