"""Rows that can be used: problems whose images are whole, a batch at a time; the others are counted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from mstar.datasets.images import UnreadableImage, image_name
from mstar.datasets.problem_file import row_name
from mstar.datasets.rows import BadRow
from mstar.presets.catalogue import Split
from mstar.presets.pictures import Kept, Pictures
from mstar.presets.sources import Source
from mstar.records import ImageSource, Problem

AT_ONCE = 512
"""Rows in memory, with the images that they embed."""
NAMED = 20
"""Rows that are left out of which it is said why; of more, only how many."""


class Usable(NamedTuple):
    """`row` counts from 0."""

    row: int
    problem: Problem
    images: tuple[Kept, ...]


@dataclass
class LeftOut:
    """Rows that cannot be used."""

    rows: int = 0
    because: list[str] = field(default_factory=list)
    """Of the first of them."""

    def add(self, row: int, id: str | None, reason: str) -> None:
        self.rows += 1
        if len(self.because) < NAMED:
            self.because.append(f"{row_name(row + 1, id)}: {reason}")


def usable(
    source: Source, rows: Sequence[int], split: Split | None, pictures: Pictures, left_out: LeftOut
) -> Iterator[list[Usable]]:
    """The problems in these rising rows that belong to a split, without those that cannot be used."""
    found = zip(rows, source.scan(rows), strict=True)
    wanted = ((row, one) for row, (raw, one) in found if belongs(raw, one, split))
    while batch := list(islice(wanted, AT_ONCE)):
        yield list(with_images(batch, pictures, left_out))


def belongs(raw: object, found: Problem | BadRow, split: Split | None) -> bool:
    """A row that cannot be read belongs to every split whose rows are not told by a key."""
    if split is None:
        return True
    if split.rows and not (isinstance(raw, dict) and split.rows.items() <= raw.items()):
        return False
    return not split.sources or (isinstance(found, Problem) and found.source in split.sources)


def with_images(
    batch: Sequence[tuple[int, Problem | BadRow]], pictures: Pictures, left_out: LeftOut
) -> Iterator[Usable]:
    images = [image for _, one in batch if isinstance(one, Problem) for image in one.images]
    looked_at = iter(pictures.look_at(images))
    for row, one in batch:
        if isinstance(one, BadRow):
            left_out.add(row, one.id, str(one))
            continue
        kept = list(islice(looked_at, len(one.images)))
        good = tuple(image for image in kept if not isinstance(image, UnreadableImage))
        if len(good) == len(kept):
            yield Usable(row, one, good)
        else:
            left_out.add(row, one.id, what_is_wrong(one.images, kept))


def what_is_wrong(images: Sequence[ImageSource], kept: Sequence[Kept | UnreadableImage]) -> str:
    pairs = zip(images, kept, strict=True)
    return next(f"{image_name(image)} {one}" for image, one in pairs if isinstance(one, UnreadableImage))
