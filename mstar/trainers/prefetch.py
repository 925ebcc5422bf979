"""When what a model learns from is read and padded: for a GPU in a thread, while it learns from the last;
for a CPU in turn with learning.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
AHEAD = 2
"""Items that are ready, or being made, while one is used."""
ROWS_AT_ONCE = 256


def rows_at_once(device: torch.device) -> int:
    """How many rows are read together. For a CPU many: after each step its caches hold the model, and reading
    starts from cold ones. For a GPU a batch, however small: it waits for the first, and not for the others.
    """
    return ROWS_AT_ONCE if device.type == "cpu" else 1


def prefetch_for(device: torch.device, items: Iterator[Item]) -> Iterator[Item]:
    """The same items. For a CPU they are made in turn: a thread would take it away from the model, and each
    of torch's operations in it would bring a team of threads of its own.
    """
    return items if device.type == "cpu" else prefetch(items)


def prefetch(items: Iterator[Item]) -> Iterator[Item]:
    """The same items (none of them None) in the same order, made in a thread. An error is raised in the place
    of the item that it was met at.
    """
    with ThreadPoolExecutor(1, "prefetch") as thread:
        made = deque(thread.submit(next, items, None) for _ in range(AHEAD))
        try:
            while (item := made.popleft().result()) is not None:
                made.append(thread.submit(next, items, None))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)
