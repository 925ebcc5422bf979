"""Large files in parts that travel at the same time, with bounded memory and a hash made on the way."""

import hashlib
import mmap
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from urllib3.exceptions import ProtocolError
from urllib3.response import BaseHTTPResponse

PART_BYTES = 64 << 20
BLOCK_BYTES = 1 << 20
WRONG_READS = 3
"""How often a file may arrive with other bytes than were written."""
Write = Callable[[BaseHTTPResponse], None]
Rest = Callable[[], tuple[int, int]]
"""Offset and length of what has not arrived yet."""
Read = Callable[[Rest, Write], None]
"""Asks for what is left, hands the answer on, and begins anew where that fails in passing."""


def fetch_parts(path: Path, size: int, at_once: int, read: Read) -> str:
    """Write a file of `size` bytes; returns its sha256."""
    with path.open("w+b") as file, ThreadPoolExecutor(at_once, "s3 parts") as pool:
        descriptor = file.fileno()
        _take_room(descriptor, size)
        parts = [
            (pool.submit(_fetch_part, descriptor, offset, min(PART_BYTES, size - offset), read), offset)
            for offset in range(0, size, PART_BYTES)
        ]
        try:
            return _hash_in_order(descriptor, parts, size)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _take_room(descriptor: int, size: int) -> None:
    """All at once: parts that come side by side find their place faster than in a file with holes."""
    os.ftruncate(descriptor, size)
    if size and hasattr(os, "posix_fallocate"):  # not on macOS
        os.posix_fallocate(descriptor, 0, size)


def _fetch_part(descriptor: int, offset: int, length: int, read: Read) -> None:
    """What has arrived before a connection breaks is not asked for again."""
    end = offset + length

    def rest() -> tuple[int, int]:
        return offset, end - offset

    def write(response: BaseHTTPResponse) -> None:
        nonlocal offset
        for block in response.stream(BLOCK_BYTES, decode_content=False):
            offset += os.pwrite(descriptor, block[: end - offset], offset)
        if offset < end:
            raise ProtocolError(f"the answer ends {end - offset} bytes too early")

    read(rest, write)


def _hash_in_order(descriptor: int, parts: list[tuple[Future[None], int]], size: int) -> str:
    """While later parts travel, the earlier ones are still in the machine's memory."""
    found = hashlib.sha256()
    for part, offset in parts:
        part.result()
        length = min(PART_BYTES, size - offset)
        with mmap.mmap(descriptor, length, prot=mmap.PROT_READ, offset=offset) as data:
            found.update(data)
    return found.hexdigest()
