"""Single rows of Parquet files and of Arrow streams (what `Dataset.save_to_disk` writes).

Only columns that mean something are read. A Parquet file is read a few rows at a time and remembers where it
stands, so rows that rise cost one pass, and memory stays at a few rows or, if that is more, a page of the
file. An Arrow stream is mapped into memory and copied row by row. A part of a file that cannot be read costs
its own rows only.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from itertools import accumulate, groupby, islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mstar.datasets.batches import one_line, pick, row_of, rows_of, with_short_numbers
from mstar.datasets.files import DataFile
from mstar.datasets.parquet_pages import ParquetPages, find_pages
from mstar.datasets.read_ahead import ReadAhead
from mstar.datasets.rows import BadRow, Format, Row, misspelt
from mstar.errors import UserError

BATCH_ROWS = 64
"""Rows of a Parquet file in memory at a time, with their images."""
BATCH_BYTES = 1 << 22
"""More rows at a time where the file says that so many take no more."""

SPARING = {"buffer_size": 1 << 20, "pre_buffer": False, "page_checksum_verification": True}
"""Read 1 MiB ahead per column instead of whole row groups; find damage where the writer left checksums."""

ROWS_BY_PAGE = 16
"""Whose pages of images are asked for at the same time."""

PLAIN_BATCH_ROWS = 4096
"""Rows at a time where no images are read."""


class ParquetRows:
    """The rows of one Parquet file."""

    def __init__(self, file: DataFile, format: Format) -> None:
        self.file = file
        try:
            with pq.ParquetFile(file.seekable()) as opened:
                names, self._metadata = opened.schema_arrow.names, opened.metadata
                groups = [opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups)]
                self.images_embedded = parquet_embeds_images(opened, format)
        except (pa.ArrowException, OSError) as error:
            raise unreadable(file, "Parquet", error) from error
        self.columns, self.unknown_columns = split_columns(file, names, format)
        self._plain_columns = [name for name in self.columns if name not in format.image_columns]
        self._ends = list(accumulate(groups))
        self._ahead = ReadAhead(file)
        self._broken: dict[int, tuple[int, str]] = {}
        self._batches: Iterator[Any] | None = None
        self._batch: Any = None
        self._group = self._start = 0
        self._images = True

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def rows(self, indices: Iterable[int], images: bool = True) -> Iterator[Row | BadRow]:
        """The rows at these rising indices; without `images`, those columns are not read."""
        if images and self._pages:
            return self._rows_by_page(indices, self._pages)
        return self._rows_by_batch(indices, images)

    @cached_property
    def _pages(self) -> ParquetPages | None:
        names = [name for name in self.columns if name not in self._plain_columns]
        return find_pages(self.file, self._metadata, names)

    def _rows_by_page(self, indices: Iterable[int], pages: ParquetPages) -> Iterator[Row | BadRow]:
        waiting = iter(indices)
        while own := list(islice(waiting, ROWS_BY_PAGE)):
            groups = [bisect_right(self._ends, index) for index in own]
            starts = [self._ends[group - 1] if group else 0 for group in groups]
            places = [(group, index - start) for group, index, start in zip(groups, own, starts, strict=True)]
            pages.expect(places)
            for place, row in zip(places, self._rows_by_batch(own, images=False), strict=True):
                yield row if isinstance(row, BadRow) else self._with_images(row, place, pages)

    def _with_images(self, row: Row, place: tuple[int, int], pages: ParquetPages) -> Row | BadRow:
        try:
            found = {**row, **pages.row(*place)}
        except (pa.ArrowException, OSError) as error:
            return BadRow([broken_group(place[0], error)])
        return {name: found[name] for name in self.columns}

    def _rows_by_batch(self, indices: Iterable[int], images: bool) -> Iterator[Row | BadRow]:
        if images != self._images:
            self._images, self._batches = images, None
        for _, own in groupby(indices, key=lambda index: index // BATCH_ROWS):
            waiting = list(own)
            while waiting:
                reason = self._seek(waiting[0])
                if reason:
                    yield BadRow([reason])
                    del waiting[0]
                else:
                    end = bisect_left(waiting, self._start + self._batch.num_rows)
                    yield from rows_of(pick(self._batch, [row - self._start for row in waiting[:end]]))
                    del waiting[:end]

    def labels(self, columns: Collection[str]) -> Iterator[Row | BadRow]:
        """All rows with these columns only: damage in others does not matter."""
        for group in range(len(self._ends)):
            yield from self._group_labels(group, [column for column in columns if column in self.columns])

    def _group_labels(self, group: int, columns: list[str]) -> Iterator[Row | BadRow]:
        done = self._ends[group - 1] if group else 0
        try:
            for batch in self._open_group(group, columns):
                yield from rows_of(batch)
                done += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            yield from [BadRow([broken_group(group, error)])] * (self._ends[group] - done)

    def _open_group(self, group: int, columns: list[str]) -> Iterator[Any]:
        size = PLAIN_BATCH_ROWS
        if not set(columns) <= set(self._plain_columns):
            whole = self._metadata.row_group(group)
            size = min(size, max(BATCH_ROWS, BATCH_BYTES * whole.num_rows // max(1, whole.total_byte_size)))
        with pq.ParquetFile(self.file.seekable(), metadata=self._metadata, **SPARING) as file:
            self._ahead.opens(group, self._metadata, columns)
            yield from map(with_short_numbers, file.iter_batches(size, row_groups=[group], columns=columns))

    def _seek(self, index: int) -> str | None:
        """Make the batch with this row the current one; the reason if it cannot be read."""
        group = bisect_right(self._ends, index)
        first_broken, reason = self._broken.get(group, (len(self), ""))
        if index >= first_broken:
            return reason
        if self._batches is None or group != self._group or index < self._start:
            columns = self.columns if self._images else self._plain_columns
            self._batches = self._open_group(group, columns)
            self._batch, self._group = None, group
            self._start = self._ends[group - 1] if group else 0
        try:
            while self._batch is None or index >= self._start + self._batch.num_rows:
                self._start += self._batch.num_rows if self._batch is not None else 0
                self._batch = None
                self._batch = next(self._batches)
        except (pa.ArrowException, OSError) as error:
            self._broken[group] = (self._start, broken_group(group, error))
            self._batches = None
            return self._broken[group][1]
        return None


class ArrowRows:
    """The rows of one Arrow stream file."""

    def __init__(self, file: DataFile, format: Format) -> None:
        self.file = file
        table = with_short_numbers(read_stream(file))
        self.columns, self.unknown_columns = split_columns(file, table.column_names, format)
        pictures = [table.column(name) for name in self.columns if name in format.image_columns]
        self.images_embedded = bool(pictures) and all(
            holds_bytes_only(chunk) for picture in pictures for chunk in picture.chunks
        )
        self._batches = table.select(self.columns).to_batches()
        plain = [name for name in self.columns if name not in format.image_columns]
        self._plain_batches = table.select(plain).to_batches()
        self._ends = list(accumulate(batch.num_rows for batch in self._batches))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def rows(self, indices: Iterable[int], images: bool = True) -> Iterator[Row | BadRow]:
        """The rows at these indices; without `images`, those columns are not read."""
        batches = self._batches if images else self._plain_batches
        for index in indices:
            position = bisect_right(self._ends, index)
            start = self._ends[position - 1] if position else 0
            yield row_of(batches[position], index - start)

    def labels(self, columns: Collection[str]) -> Iterator[Row | BadRow]:
        """All rows with these columns only: damage in others does not matter."""
        wanted = [column for column in columns if column in self.columns]
        for batch in self._batches:
            yield from rows_of(batch.select(wanted))


def read_stream(file: DataFile) -> Any:
    """The table of an Arrow stream, mapped into memory; UserError if it cannot be read."""
    try:
        with pa.ipc.open_stream(pa.memory_map(str(file.local()))) as stream:
            return stream.read_all()
    except (pa.ArrowException, OSError) as error:
        raise unreadable(file, "Arrow", error) from error


def column_names(file: DataFile) -> list[str]:
    """The columns of a Parquet file or an Arrow stream file."""
    if file.name.suffix == ".arrow":
        names: list[str] = read_stream(file).column_names
        return names
    try:
        names = pq.read_schema(file.seekable()).names
    except (pa.ArrowException, OSError) as error:
        raise unreadable(file, "Parquet", error) from error
    return names


def split_columns(file: DataFile, names: list[str], format: Format) -> tuple[list[str], tuple[str, ...]]:
    """The columns that are known and those that are not; UserError if one that is needed is missing."""
    for group in format.required:
        if not any(name in names for name in group):
            needed = ", ".join(" or ".join(names) for names in format.required)
            missing, present = " or ".join(group), ", ".join(names) or "none"
            raise UserError(
                f"{file} has no column {missing}; problems need {needed}; it has {present}; other names are "
                "told with data.columns, or --column question=NAME"
            )
    unknown = tuple(name for name in names if name not in format.known)
    twice = [name for name in names if name in format.known and names.count(name) > 1]
    if twice:
        raise UserError(f"{file} has {names.count(twice[0])} columns {twice[0]}; keep one of them")
    if (
        "answer" in format.known
        and not {"answer", "answers"} & set(names)
        and (meant := misspelt("answer", unknown))
    ):
        raise UserError(f"{file} has no column answer, but one named {meant}; rename it, or add one of nulls")
    return [name for name in names if name in format.known], unknown


def parquet_embeds_images(file: Any, format: Format) -> bool:
    """Whether a file has images, and none of its columns holds the path of one; told without reading them."""
    names = [name for name in file.schema_arrow.names if name in format.image_columns]
    types = {name: file.schema_arrow.field(name).type for name in names}
    return bool(names) and all(is_binary(types[name]) or is_never_null(file, name) for name in names)


def is_never_null(file: Any, name: str) -> bool:
    """Whether every row group says that it has no null among the `bytes` of an image column."""
    found = [
        group.column(index).statistics
        for group in map(file.metadata.row_group, range(file.num_row_groups))
        for index in range(group.num_columns)
        if re.fullmatch(rf"{re.escape(name)}(\..*)?\.bytes", group.column(index).path_in_schema)
    ]
    return bool(found) and all(one is not None and one.has_null_count and not one.null_count for one in found)


def is_binary(column: Any) -> bool:
    if pa.types.is_list(column) or pa.types.is_large_list(column):
        return is_binary(column.value_type)
    return bool(pa.types.is_binary(column) or pa.types.is_large_binary(column))


def holds_bytes_only(images: Any) -> bool:
    """Whether no image in an Arrow array is a path."""
    if pa.types.is_list(images.type) or pa.types.is_large_list(images.type):
        return holds_bytes_only(images.flatten())
    if pa.types.is_struct(images.type) and images.type.get_field_index("bytes") >= 0:
        return not images.field("bytes").null_count
    return is_binary(images.type)


def broken_group(group: int, error: Exception) -> str:
    return f"row group {group} of the file is damaged ({one_line(error)})"


def unreadable(file: DataFile, kind: str, error: Exception) -> UserError:
    return UserError(f"{file} cannot be read as {kind} ({one_line(error)}); write or download it again")
