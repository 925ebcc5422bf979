"""What of a Parquet file will be read soon."""

from collections.abc import Sequence
from typing import Any

from mstar.datasets.files import DataFile

STREAK = 3
"""Row groups read one after the other from which it is likely that this goes on."""
AHEAD_BYTES = 1 << 23
LONGEST_LOOK = 8
"""Twice as many row groups so often."""


class ReadAhead:
    """Says what of a Parquet file will be read soon, once its row groups are read one after the other."""

    def __init__(self, file: DataFile) -> None:
        self._file = file
        self._last = self._told = -1
        self._streak = 0

    def opens(self, group: int, metadata: Any, columns: Sequence[str]) -> None:
        """The groups that follow are told of, twice as many each time, as far as they are small."""
        self._streak = self._streak + 1 if group == self._last + 1 else 0
        self._last = group
        if self._streak < STREAK or group < self._told:
            return
        ranges: list[tuple[int, int]] = []
        stop = min(group + 2 ** min(self._streak - STREAK, LONGEST_LOOK), metadata.num_row_groups)
        for self._told in range(group, stop):
            found = ranges + chunk_ranges(metadata.row_group(self._told), columns)
            if sum(length for _, length in found) > AHEAD_BYTES:
                break
            ranges = found
        else:
            self._told = stop
        self._file.expect(ranges)


def chunk_ranges(group: Any, columns: Sequence[str]) -> list[tuple[int, int]]:
    """Where the columns of a row group are: (offset, length)."""
    chunks = map(group.column, range(group.num_columns))
    return [
        (chunk.dictionary_page_offset or chunk.data_page_offset, chunk.total_compressed_size)
        for chunk in chunks
        if chunk.path_in_schema.split(".")[0] in columns
    ]
