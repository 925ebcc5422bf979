"""Making what comes next while a GPU learns from what is there: images are decoded and rows padded in a
thread, so that it does not wait for them.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
AHEAD = 2
"""Items that are ready, or being made, while one is used."""


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
