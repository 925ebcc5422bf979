"""Arrow's batches of rows as rows of Python's own objects."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from mstar.datasets.rows import BadRow, Row


def with_short_numbers(batch: Any) -> Any:
    """The same batch or table with numbers of 32 bits as those that were meant: 0.3 is the gold of whoever
    stored that, not 0.30000001192092896.
    """
    for place, field in enumerate(batch.schema):
        if texts := without_floats(field.type, pa.string()):
            numbers = without_floats(field.type, pa.float64())
            batch = batch.set_column(place, field.name, batch.column(place).cast(texts).cast(numbers))
    return batch


def without_floats(kind: Any, instead: Any) -> Any:
    """A type with another one for numbers of 32 bits, also in lists; None where there are none."""
    if pa.types.is_list(kind):
        inner = without_floats(kind.value_type, instead)
        return inner and pa.list_(inner)
    return instead if pa.types.is_float32(kind) else None


def pick(batch: Any, rows: Sequence[int]) -> Any:
    """The rising rows of a batch; those that follow one another without a copy."""
    if rows[-1] - rows[0] == len(rows) - 1:
        return batch.slice(rows[0], len(rows))
    try:
        return batch.take(np.array(rows))
    except pa.ArrowNotImplementedError:  # of texts as Arrow's views, in pyarrow 26
        return pa.Table.from_batches([batch.slice(row, 1) for row in rows])


def rows_of(batch: Any) -> Iterator[Row | BadRow]:
    """All rows of a batch at once, or one by one where one of them cannot be converted."""
    try:
        yield from batch.to_pylist()
    except (pa.ArrowException, ValueError):
        for index in range(batch.num_rows):
            yield row_of(batch, index)


def row_of(batch: Any, index: int) -> Row | BadRow:
    try:
        row: Row = batch.slice(index, 1).to_pylist()[0]
    except UnicodeDecodeError as error:
        return BadRow([f"a text is not UTF-8 (byte {error.start + 1})"])
    except (pa.ArrowException, ValueError) as error:
        return BadRow([f"a value cannot be read ({one_line(error)})"])
    return row


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())
