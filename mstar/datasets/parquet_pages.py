"""Single pages of a Parquet file's images, where a page index says where they are.

pyarrow reads a column from the beginning of its row group, and the library `datasets` makes row groups of
100 MB, with pages of 0.2 to 1 MB in them. Only the index is read here. A page is decoded by pyarrow all the
same: it is shown a file in which that page is the first one of its row group.
"""

import io
import os
from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from itertools import accumulate, pairwise, takewhile
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mstar.datasets.files import DataFile
from mstar.datasets.thrift import read_struct
from mstar.storage.ranged import RangedFile

ROW_GROUPS, COLUMNS, INDEX_OFFSET, INDEX_BYTES, PAGES = 4, 1, 4, 5, 1
OFFSET, LENGTH, FIRST_ROW = 1, 2, 3
"""Fields of FileMetaData, RowGroup, ColumnChunk and OffsetIndex, and of PageLocation, in parquet.thrift."""
TAIL_BYTES = 8
"""Behind the footer: its length, and PAR1."""
HEADER_BYTES = 1 << 16
"""Read at once where a page's header is looked for."""
AHEAD_BYTES = 1 << 25
"""Of pages that are on their way at the same time."""
WORTH_BYTES = 1 << 21
"""Of the images of a row group: less is read as a whole."""


class Page(NamedTuple):
    """Which rows of its row group are in a page, and where that is in the file."""

    first: int
    stop: int
    offset: int
    length: int


class ParquetPages:
    """The pages of some columns of a file."""

    def __init__(self, file: DataFile, metadata: Any, leaves: Sequence[int]) -> None:
        """Columns by their numbers in the file; ArrowException where the index cannot be read."""
        self._file, self._metadata, self._leaves = file, metadata, leaves
        self._pages = self._read_index()
        self._decoded: dict[int, tuple[int, Page, Any]] = {}
        """Of each column the page that was read last, with its row group."""

    def expect(self, places: Iterable[tuple[int, int]]) -> None:
        """These will be read soon: (row group, row in it). Not more than is kept until then."""
        wanted = dict.fromkeys(self._page(group, leaf, row) for group, row in places for leaf in self._leaves)
        room = takewhile(AHEAD_BYTES.__ge__, accumulate(page.length for page in wanted))
        self._file.expect([(page.offset, page.length) for page, _ in zip(wanted, room, strict=False)])

    def row(self, group: int, row: int) -> dict[str, Any]:
        """What the columns have there; ArrowException or OSError where that is damaged."""
        found: dict[str, Any] = {}
        for leaf in self._leaves:
            page = self._page(group, leaf, row)
            if self._decoded.get(leaf, ())[:2] != (group, page):
                self._decoded[leaf] = group, page, self._decode(group, leaf, page)
            found = merged(found, self._decoded[leaf][2].slice(row - page.first, 1).to_pylist()[0])
        return found

    def largest(self) -> Page:
        return max((page for pages in self._pages.values() for page in pages), key=lambda page: page.length)

    def _page(self, group: int, leaf: int, row: int) -> Page:
        pages = self._pages[group, leaf]
        return pages[bisect_right(pages, row, key=lambda page: page.first) - 1]

    def _decode(self, group: int, leaf: int, page: Page) -> Any:
        """Behind the page that file ends, which ends a list too."""
        chunk = self._metadata.row_group(group).column(leaf)
        start = start_of(chunk)
        with opened(self._file) as file:
            dictionary = read_at(file, start, self._pages[group, leaf][0].offset - start)
            data = dictionary + read_at(file, page.offset, page.length)
        shown = pq.ParquetFile(
            RangedFile(Piece(data, start, start + chunk.total_compressed_size)),
            metadata=self._metadata,
            buffer_size=HEADER_BYTES,
            pre_buffer=False,
            page_checksum_verification=True,
        )
        rows = page.stop - page.first
        batch = next(
            shown.iter_batches(rows, row_groups=[group], columns=[chunk.path_in_schema], use_threads=False),
            None,
        )
        if batch is None or batch.num_rows != rows:
            raise pa.ArrowInvalid(f"a page has not the {rows} rows that its index says")
        return batch

    def _read_index(self) -> dict[tuple[int, int], list[Page]]:
        places = [(group, leaf) for group in range(self._metadata.num_row_groups) for leaf in self._leaves]
        try:
            with opened(self._file) as file:
                size = self._metadata.serialized_size
                footer = file.seek(-TAIL_BYTES - size, os.SEEK_END)
                groups = read_struct(io.BytesIO(read_at(file, footer, size)))[ROW_GROUPS]
                chunks = {place: groups[place[0]][COLUMNS][place[1]] for place in places}
                self._file.expect([(one[INDEX_OFFSET], one[INDEX_BYTES]) for one in chunks.values()])
                indexes = {
                    place: read_at(file, one[INDEX_OFFSET], one[INDEX_BYTES]) for place, one in chunks.items()
                }
            return {
                (group, leaf): pages_of(index, self._metadata.row_group(group), leaf)
                for (group, leaf), index in indexes.items()
            }
        except (LookupError, ValueError) as error:
            raise pa.ArrowInvalid("its page index is damaged") from error


class Piece:
    """A file of which only these bytes are there, from an offset on; see RangedFile."""

    def __init__(self, data: bytes, offset: int, size: int) -> None:
        self.size = size
        self._data, self._offset = data, offset

    def read(self, offset: int, length: int) -> bytes:
        """Fewer bytes where there are no more."""
        at = offset - self._offset
        return self._data[at : at + length] if at >= 0 else b""


def find_pages(file: DataFile, metadata: Any, columns: Collection[str]) -> ParquetPages | None:
    """The pages of these columns, where row groups are large and have an index that can be read."""
    schema, groups = metadata.schema, range(metadata.num_row_groups)
    leaves = [n for n in range(metadata.num_columns) if schema.column(n).path.split(".")[0] in columns]
    chunks = [[metadata.row_group(group).column(leaf) for leaf in leaves] for group in groups]
    large = any(sum(one.total_compressed_size for one in own) > WORTH_BYTES for own in chunks)
    if large and all(one.has_offset_index for own in chunks for one in own):
        with suppress(pa.ArrowException):
            return ParquetPages(file, metadata, leaves)
    return None


def pages_of(index: bytes, group: Any, leaf: int) -> list[Page]:
    """The pages in an offset index; ValueError where they are not of this column of a row group."""
    found = read_struct(io.BytesIO(index))[PAGES]
    firsts = [*(page[FIRST_ROW] for page in found), group.num_rows]
    start = start_of(group.column(leaf))
    ends = [start, *(page[OFFSET] + page[LENGTH] for page in found)]
    in_order = all(first < stop for first, stop in pairwise(firsts)) and firsts[0] == 0
    apart = all(end <= page[OFFSET] for end, page in zip(ends, found, strict=False))
    if not (in_order and apart and ends[-1] <= start + group.column(leaf).total_compressed_size):
        raise ValueError("pages do not follow one another")
    return [
        Page(first, stop, page[OFFSET], page[LENGTH])
        for page, (first, stop) in zip(found, pairwise(firsts), strict=True)
    ]


def start_of(chunk: Any) -> int:
    start: int = chunk.dictionary_page_offset or chunk.data_page_offset
    return start


def opened(file: DataFile) -> io.BufferedReader:
    found = file.seekable()
    return found.open("rb") if isinstance(found, Path) else io.BufferedReader(found)


def read_at(file: io.BufferedReader, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def merged(one: Any, other: Any) -> Any:
    """Two parts of one value: each has some of the fields of every struct in it."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one | {key: merged(one[key], part) if key in one else part for key, part in other.items()}
    if isinstance(one, list):
        return [merged(*parts) for parts in zip(one, other, strict=True)]
    return one
