"""A large stored file as one that can be read anywhere, by ranges, with little memory."""

import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any, Protocol

BLOCK_BYTES = 1 << 13
"""Small: the texts of a few problems lie between images, which are not wanted with them."""
HELD_BLOCKS = 8192
"""Of one file, in memory: 64 MiB."""
WHOLE_BYTES = 1 << 25
"""More at once (DuckDB writes pages of 100 MB) is handed on and not kept, which would hold three copies."""
AT_ONCE = 8
"""Requests on their way."""


class Blocks:
    """What was read last of one file, for all who read it at the same time."""

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        """`fetch` gives the bytes at an offset, so many."""
        self.size = size
        self._fetch = fetch
        self._held: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, offset: int, length: int) -> bytes:
        """Fewer bytes only at the end."""
        end = min(offset + length, self.size)
        if offset >= end:
            return b""
        if end - offset > WHOLE_BYTES:
            return self._fetch(offset, end - offset)
        numbers = blocks_of(offset, end)
        with self._lock:
            found = {number: self._held[number] for number in numbers if number in self._held}
            for run in runs(number for number in numbers if number not in found):
                found |= self._fetch_run(run)
            self._keep(found)
        data = b"".join(found[number] for number in numbers)
        return data[offset - numbers.start * BLOCK_BYTES : end - numbers.start * BLOCK_BYTES]

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch what will be read soon, as (offset, length), all at the same time."""
        wanted = {number for offset, length in ranges for number in blocks_of(offset, offset + length)}
        with self._lock:
            missing = sorted(wanted - self._held.keys())
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for found in pool.map(self._fetch_run, runs(missing)):
                with self._lock:
                    self._keep(found)

    def _fetch_run(self, run: range) -> dict[int, bytes]:
        """Neighbours in one request."""
        offset = run.start * BLOCK_BYTES
        data = self._fetch(offset, min(run.stop * BLOCK_BYTES, self.size) - offset)
        cut = (data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES))
        return dict(zip(run, cut, strict=True))

    def _keep(self, used: dict[int, bytes]) -> None:
        for number in sorted(used)[-HELD_BLOCKS:]:
            self._held[number] = used[number]
            self._held.move_to_end(number)
        while len(self._held) > HELD_BLOCKS:
            self._held.popitem(last=False)


def blocks_of(offset: int, end: int) -> range:
    """The numbers of the blocks that these bytes are in."""
    return range(offset // BLOCK_BYTES, (end - 1) // BLOCK_BYTES + 1)


def runs(numbers: Iterable[int]) -> Iterator[range]:
    """Rising numbers as ranges of neighbours."""
    for _, group in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        own = [number for _, number in group]
        yield range(own[0], own[-1] + 1)


class Ranges(Protocol):
    """What can be read anywhere; Blocks is one."""

    size: int

    def read(self, offset: int, length: int) -> bytes: ...


class RangedFile(io.RawIOBase):
    """Reads blocks as a file; any number of them share what was read."""

    def __init__(self, blocks: Ranges) -> None:
        self._blocks = blocks
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origins = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._blocks.size}
        self._position = origins[whence] + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        """As RawIOBase does by `readinto`, in a tenth of its time."""
        data = self._blocks.read(self._position, size if size >= 0 else self._blocks.size)
        self._position += len(data)
        return data
