"""How much moves for one problem of a Parquet file that is read by ranges: the images of its row group, or of
its page where the file has a page index.
"""

import io
from collections.abc import Collection, Iterator
from typing import Any

import pyarrow.parquet as pq

from mstar.datasets.parquet_pages import find_pages
from mstar.datasets.problem_file import ProblemFile

LARGE_BYTES = 2 << 20
GOOD_BYTES = 1 << 20
"""Of a row group's images: less makes more requests than it spares bytes."""


def advise_row_groups(file: ProblemFile) -> str | None:
    """A line where problems are read by ranges, and row groups are large; None elsewhere."""
    size, rows = max(_image_bytes(file), default=(0, 0))
    if size <= LARGE_BYTES:
        return None
    fitting = max(1, GOOD_BYTES * rows // size)
    return (
        f"row groups have up to {size / 1e6:.1f} MB of images ({rows} rows), which move for any one of them; "
        f"written with row_group_size={fitting}, less would"
    )


def _image_bytes(file: ProblemFile) -> Iterator[tuple[int, int]]:
    """Of what is read by ranges at once the bytes of its images, and its rows; from footers alone."""
    for part in file.files:
        opened = part.seekable() if part.name.suffix.lower() == ".parquet" else None
        if isinstance(opened, io.RawIOBase):
            metadata = pq.read_metadata(opened)
            if pages := find_pages(part, metadata, file.format.image_columns):
                largest = pages.largest()
                yield largest.length, largest.stop - largest.first
                continue
            for number in range(metadata.num_row_groups):
                group = metadata.row_group(number)
                yield sum(_sizes(group, file.format.image_columns)), group.num_rows


def _sizes(group: Any, names: Collection[str]) -> Iterator[int]:
    for number in range(group.num_columns):
        column = group.column(number)
        if column.path_in_schema.split(".")[0] in names:
            yield column.total_compressed_size
