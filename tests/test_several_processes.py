"""Two processes at one stage, whose requests come in any order, and which are killed anywhere: the stage ends
as one process would have left it.
"""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mstar.evaluation import unjudged
from mstar.records import Report
from mstar.rundir import RunDir
from mstar.stage_notes import TIMING
from mstar.stages import EVALUATE, WHOLE, Shard, part_names
from mstar.storage.folder import FolderStorage
from mstar.work import Turn, Work, perform
from tests.conftest import parse_small

NAMES = part_names(4)
ROUNDS = 12


class Killed(BaseException):
    """What `kill -9` is to a process."""


class Unsteady(FolderStorage):
    """A folder whose answers take a while now and then; and its process may die at any of them."""

    def __init__(self, root: Path, chance: random.Random, killed: float) -> None:
        super().__init__(root)
        self._chance, self._killed = chance, killed

    def _steps(self) -> None:
        if self._chance.random() < 0.3:
            time.sleep(0.01 * self._chance.random())
        if self._chance.random() < self._killed:
            raise Killed

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in ("publish", "read", "describe", "sizes", "keys", "remove"):
            return found

        def stepped(*arguments: Any, **options: Any) -> Any:
            self._steps()
            answer = found(*arguments, **options)
            self._steps()
            return answer

        return stepped


def evaluate(work: Work) -> Report | None:
    """As the stage does: each part waits for its judgement in a file that goes at the end."""
    for name in work.missing(NAMES):
        write(work, unjudged(name), name)
        with work.folder.reading(unjudged(name)) as path:
            text = path.read_text()
        write(work, name, text)
    return work.commit(NAMES, lambda: Report(0))


def write(work: Work, name: str, text: str) -> None:
    with work.folder.write(name) as path:
        path.write_text(text)


def go_on(open_run: Callable[[], RunDir], shard: Shard) -> Report | None:
    """A process that is started again whenever it was killed."""
    while True:
        try:
            return perform(EVALUATE, Turn(open_run(), 0, shard), {}, evaluate)
        except Killed:
            continue


def finish(root: Path, shards: tuple[Shard, ...], killed: float, seed: int) -> list[str]:
    """The files that are left; one of the processes has to know the result."""
    config = parse_small(output=str(root))

    def work(number: int) -> Report | None:
        chance = random.Random(f"{seed} {number}")
        return go_on(lambda: RunDir(Unsteady(root, chance, killed), config), shards[number])

    with ThreadPoolExecutor(2) as threads:
        assert Report(0) in list(threads.map(work, range(2)))
    left = {path.name for path in (root / "iterations/000/evaluate").iterdir()}
    return sorted(left - {TIMING})  # who is killed right before the end leaves none


@pytest.mark.parametrize("killed", [0.0, 0.02])
@pytest.mark.parametrize("shards", [(Shard(1, 2), Shard(2, 2)), (WHOLE, WHOLE)], ids=["shards", "the same"])
def test_it_ends_as_one_alone_would_leave_it(
    tmp_path: Path, shards: tuple[Shard, ...], killed: float
) -> None:
    alone = finish(tmp_path / "alone", (WHOLE, WHOLE), 0.0, 0)
    assert len(alone) == len(NAMES) + 1
    for number in range(ROUNDS):
        assert finish(tmp_path / str(number), shards, killed, number) == alone, number
