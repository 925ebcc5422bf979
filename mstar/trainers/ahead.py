"""Items that are made in a thread while something else runs.

Making a batch holds Python's lock, and so does a forward pass: beside one another they only wait. A backward
pass lets the lock go. So the next item is begun when whoever uses this one says that it is a good time.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Ahead(Generic[Item]):
    """Iterates over `items`, one at most ahead of what was asked for. Use it in a `with`, which ends the
    thread. What making an item raises is raised where the item is asked for.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = iter(items)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._next: Future[list[Item]] | None = None

    def __enter__(self) -> "Ahead[Item]":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def begin(self) -> None:
        """Make the next item now, unless that has begun."""
        if self._next is None:
            self._next = self._thread.submit(self._make)

    def __iter__(self) -> Iterator[Item]:
        while True:
            self.begin()
            assert self._next is not None
            made, self._next = self._next.result(), None
            if not made:
                return
            yield from made

    def _make(self) -> list[Item]:
        """The next item, in a list; an empty one at the end."""
        return list(islice(self._items, 1))
