"""Responses as Parquet: the parts that generate, score and evaluate leave."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mstar.records import Response

RESPONSE_SCHEMA = pa.schema(
    [
        pa.field("problem_id", pa.string(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("response_tokens", pa.int32(), nullable=False),
        pa.field("truncated", pa.bool_(), nullable=False),
        pa.field("temperature", pa.float64(), nullable=False),
        pa.field("extracted", pa.string()),
        pa.field("correct", pa.bool_()),
        pa.field("step_scores", pa.list_(pa.float64())),
        pa.field("reward", pa.float64()),
        pa.field("timed_out", pa.bool_(), nullable=False),
        pa.field("failed", pa.bool_(), nullable=False),
    ]
)
UNUSABLE = b"unusable"
"""Key of a Parquet part's metadata: the problems of its chunk that were left out, and why."""


def write_responses(
    path: Path, responses: Iterable[Response], unusable: Mapping[str, str] | None = None
) -> None:
    """Write responses as one Parquet file; the same responses always give the same bytes.

    `unusable` are problems that have none, by id with the reason.
    """
    rows = list(responses)
    columns = zip(*rows, strict=True) if rows else [()] * len(RESPONSE_SCHEMA)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, RESPONSE_SCHEMA, strict=True)]
    schema = RESPONSE_SCHEMA.with_metadata({UNUSABLE: json.dumps(dict(unusable))}) if unusable else None
    table = pa.Table.from_arrays(arrays, schema=schema or RESPONSE_SCHEMA)
    pq.write_table(table, path, compression="zstd")


def read_responses(path: Path) -> Iterator[Response]:
    """Of one Parquet file, in file order."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=4096):
            yield from _responses(batch)


def read_response(path: Path, row: int) -> Response:
    """One response of a Parquet file."""
    with pq.ParquetFile(path) as file:
        return next(_responses(file.read().slice(row, 1)))


def _responses(rows: pa.RecordBatch | pa.Table) -> Iterator[Response]:
    """Earlier versions had fewer columns."""
    missing = {name: [value] * rows.num_rows for name, value in Response._field_defaults.items()}
    columns = missing | {name: rows[name].to_pylist() for name in rows.schema.names}
    columns["step_scores"] = [own if own is None else tuple(own) for own in columns["step_scores"]]
    return map(Response._make, zip(*(columns[name] for name in Response._fields), strict=True))


def read_unusable(path: Path) -> dict[str, str]:
    """The problems that a Parquet file of responses leaves out, and why."""
    metadata = pq.read_schema(path).metadata or {}
    return dict(json.loads(metadata.get(UNUSABLE, b"{}")))
