"""Checkpoints go to the storage while training goes on, one at a time.

Once a checkpoint's files are written, the rest (hashing them, flushing them to the disk or sending them to a
server) needs no training to stop. The next checkpoint waits for the last one, and so does the end; what goes
wrong on the way is raised there.
"""

from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mstar.trainers import SaveTo


@contextmanager
def saving_meanwhile(save_to: SaveTo, left_out: Collection[str] = ()) -> Iterator[SaveTo]:
    """What stands for `save_to` as long as the block lasts: its blocks end before their checkpoint counts.

    Checkpoints do not get the files that are named in `left_out`.
    """
    with ThreadPoolExecutor(1, "checkpoint") as pool:
        leaving: Future[None] | None = None

        @contextmanager
        def save(steps_done: int) -> Iterator[Path]:
            nonlocal leaving
            if leaving:
                leaving.result()
            with ExitStack() as stack:
                folder = stack.enter_context(save_to(steps_done))
                yield folder
                for name in left_out:
                    (folder / name).unlink(missing_ok=True)
                leaving = pool.submit(stack.pop_all().close)

        yield save
        if leaving:
            leaving.result()
