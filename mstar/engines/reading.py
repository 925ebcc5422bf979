"""Requests as rows for a prefill: tokens of a whole chunk, pixels of one batch at a time.

What was read of a request is kept until another chunk is asked for, as far as its images fit into
`HELD_BYTES`: what is checked is asked next, and a temperature sweep asks the same requests over and over.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from mstar.models import Encoded, Encoder
from mstar.models.encoder import decode_in_groups, decoded_bytes
from mstar.prompts import Request

HELD_BYTES = 1 << 28
"""Decoded images and pixels that are kept in memory besides those of the batch that is being sampled."""


@dataclass(frozen=True, slots=True)
class _Kept:
    request: Request
    """Held so that no other request can have its identity."""
    row: Encoded
    images: tuple[Image.Image, ...] = ()
    """Decoded, as far as there is room; of no use once the row is whole."""

    @property
    def bytes(self) -> int:
        return decoded_bytes(self.images) + sum(pixels.nbytes for pixels in self.row.pixels)


class RequestReader:
    """Reads requests with one encoder."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.kept: dict[int, _Kept] = {}
        self.bytes = 0

    def check(self, request: Request) -> None:
        """Raise UnusableRequest for one that cannot be read."""
        images = self.encoder.decode_images(request)
        [row] = self.encoder.plan([request], [images])
        self._keep(_Kept(request, row, tuple(images)))

    def plan(self, requests: Sequence[Request]) -> list[Encoded]:
        """Their rows, most of them without pixels. What was kept of other requests is forgotten."""
        self.kept = {id(one): self.kept[id(one)] for one in requests if id(one) in self.kept}
        self.bytes = sum(kept.bytes for kept in self.kept.values())
        new = [one for one in requests if id(one) not in self.kept]
        for one in new:
            self.check(one)
        return [self.kept[id(one)].row for one in requests]

    def read(self, requests: Sequence[Request]) -> list[Encoded]:
        """The whole rows of a batch whose rows are planned."""
        kept = [self.kept[id(one)] for one in requests]
        missing = [one for one in kept if not one.row.is_whole]
        whole: list[Encoded] = []
        for group, images in decode_in_groups(missing, self._decode):
            whole += self.encoder.read_pixels([one.row for one in group], images)
        for one, row in zip(missing, whole, strict=True):
            self._keep(_Kept(one.request, row))
        read = iter(whole)
        return [one.row if one.row.is_whole else next(read) for one in kept]

    def row(self, request: Request) -> Encoded:
        """The row of a request that is checked or planned; it may have no pixels."""
        return self.kept[id(request)].row

    def images(self, request: Request) -> Sequence[Image.Image]:
        """The decoded images of a request that is planned."""
        return self._decode(self.kept[id(request)])

    def _decode(self, kept: _Kept) -> Sequence[Image.Image]:
        return kept.images or self.encoder.decode_images(kept.request)

    def _keep(self, new: _Kept) -> None:
        """In place of what was kept of the request; the tokens alone where there is no room for more."""
        old = self.kept.get(id(new.request))
        held = self.bytes - (old.bytes if old else 0)
        if held + new.bytes > HELD_BYTES:
            new = _Kept(new.request, replace(new.row, pixels=()))
        self.kept[id(new.request)] = new
        self.bytes = held + new.bytes


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
