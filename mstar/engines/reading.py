"""Requests as rows for a prefill: tokens of a whole chunk, pixels of one batch at a time.

What was read of a request is kept until another chunk is asked for, as far as its pixels fit into
`HELD_BYTES`: a check reads for the chunk that follows, and a temperature sweep asks the same requests over
and over.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mstar.models import Encoded, Encoder
from mstar.prompts import Request

HELD_BYTES = 1 << 28
"""Pixels that are kept in memory besides those of the batch that is being sampled."""


@dataclass(frozen=True, slots=True)
class _Kept:
    request: Request
    """Held so that no other request can have its identity."""
    row: Encoded


class RequestReader:
    """Reads requests with one encoder."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.kept: dict[int, _Kept] = {}
        self.bytes = 0

    def check(self, request: Request) -> None:
        """Raise UnusableRequest for one that cannot be read."""
        if self.bytes < HELD_BYTES:
            self._keep([request], self.encoder.encode([request]))
        else:
            self.encoder.check(request)

    def plan(self, requests: Sequence[Request]) -> list[Encoded]:
        """Their rows, some of them without pixels. What was kept of other requests is forgotten."""
        self.kept = {id(one): self.kept[id(one)] for one in requests if id(one) in self.kept}
        self.bytes = sum(_bytes(kept.row) for kept in self.kept.values())
        new = [one for one in requests if id(one) not in self.kept]
        for one, row in zip(new, self.encoder.plan(new), strict=True):
            self.kept[id(one)] = _Kept(one, row)
        return [self.kept[id(one)].row for one in requests]

    def read(self, requests: Sequence[Request]) -> list[Encoded]:
        """The whole rows of a batch whose rows are planned."""
        missing = [one for one in requests if not self.kept[id(one)].row.is_whole]
        planned = [self.kept[id(one)].row for one in missing]
        read = self.encoder.read_pixels(planned, missing)
        self._keep(missing, read)
        whole = {id(one): row for one, row in zip(missing, read, strict=True)}
        return [whole[id(one)] if id(one) in whole else self.kept[id(one)].row for one in requests]

    def _keep(self, requests: Sequence[Request], rows: Sequence[Encoded]) -> None:
        for one, row in zip(requests, rows, strict=True):
            if self.bytes + _bytes(row) <= HELD_BYTES:
                self.kept[id(one)] = _Kept(one, row)
                self.bytes += _bytes(row)


def _bytes(row: Encoded) -> int:
    return sum(pixels.nbytes for pixels in row.pixels)


def cut_batches(rows: Sequence[Encoded], most_rows: int, most_tokens: int) -> Iterator[list[int]]:
    """Indices of rows of similar length, shortest first: no more than `most_rows` together, and no more than
    `most_tokens` with their padding, unless one row alone has more.
    """
    batch: list[int] = []
    for index in sorted(range(len(rows)), key=lambda index: len(rows[index].ids)):
        padded = len(rows[index].ids) * (len(batch) + 1)
        if batch and (len(batch) == most_rows or padded > most_tokens):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
