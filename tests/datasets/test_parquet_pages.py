"""Images by single pages are what pyarrow reads by whole row groups, whatever wrote the file."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mstar.datasets import open_problems
from mstar.datasets.checking import check_problems
from mstar.datasets.files import LocalFile
from mstar.datasets.parquet_pages import find_pages
from mstar.datasets.rows import OWN_ROWS
from mstar.datasets.table_rows import ParquetRows

ROWS = 120
CHUNKS = {"min_chunk_size": 1 << 16, "max_chunk_size": 1 << 18, "norm_level": 0}
AS_DATASETS = {"use_content_defined_chunking": CHUNKS, "write_page_index": True}
"""What the library `datasets` asks of pyarrow, with smaller pages."""
PLAIN = {"use_dictionary": False, "compression": "none"}

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def image(noise: random.Random, number: int) -> dict[str, object] | None:
    """All kinds: with and without a path, and with a path alone."""
    data = noise.randbytes(noise.randrange(40_000, 100_000))
    kinds = ({"bytes": data, "path": f"{number}.png"}, {"bytes": data, "path": None}, None)
    return {"bytes": None, "path": "a.png"} if number % 17 == 16 else kinds[number % 3]


def columns(kind: str) -> dict[str, pa.Array]:
    noise = random.Random(0)
    found = [image(noise, number) for number in range(2 * ROWS)]
    match kind:
        case "struct":
            return {"image": pa.array(found[:ROWS], IMAGE)}
        case "list":
            several = [found[number : number + number % 4] for number in range(ROWS)]
            several[5] = None
            return {"images": pa.array(several, pa.list_(IMAGE))}
        case "both":
            return {"image": pa.array(found[:ROWS], IMAGE), **columns("list")}
        case "bytes":
            return {"image": pa.array([one and one["bytes"] for one in found[:ROWS]], pa.large_binary())}
    raise AssertionError(kind)


def write(path: Path, images: dict[str, pa.Array], **options: object) -> LocalFile:
    texts = {
        "id": [f"p{number}" for number in range(ROWS)],
        "question": [f"How many, {number}?" for number in range(ROWS)],
        "answer": ["1"] * ROWS,
        "answer_type": ["number"] * ROWS,
    }
    pq.write_table(pa.table({**texts, **images}), path, **options)
    return LocalFile(path)


def pages_and_whole(file: LocalFile) -> tuple[ParquetRows, ParquetRows]:
    by_page, whole = ParquetRows(file, OWN_ROWS), ParquetRows(file, OWN_ROWS)
    assert by_page._pages is not None
    whole.__dict__["_pages"] = None
    return by_page, whole


@pytest.mark.parametrize("kind", ["struct", "list", "both", "bytes"])
@pytest.mark.parametrize(
    "options",
    [
        PLAIN,
        {"row_group_size": 70, **PLAIN},
        {"compression": "zstd"},
        {"data_page_version": "2.0", "compression": "snappy"},
        {"data_page_version": "2.0", **PLAIN},
        {"use_dictionary": False, "write_page_checksum": True},
        {"row_group_size": 70, "use_content_defined_chunking": False, "data_page_size": 1 << 16},
    ],
    ids=["as datasets", "groups", "dictionary", "version 2", "version 2 plain", "checksums", "one page"],
)
def test_rows_are_what_they_are_without_an_index(
    tmp_path: Path, kind: str, options: dict[str, object]
) -> None:
    by_page, whole = pages_and_whole(write(tmp_path / "t.parquet", columns(kind), **AS_DATASETS | options))
    expected = list(whole.rows(range(ROWS)))
    assert list(by_page.rows(range(ROWS))) == expected
    for seed in range(3):
        rows = sorted(random.Random(seed).sample(range(ROWS), 20))
        assert list(by_page.rows(rows)) == [expected[row] for row in rows]
        assert list(by_page.rows(rows, images=False)) == list(whole.rows(rows, images=False))


def test_a_damaged_page_costs_its_own_rows(tmp_path: Path) -> None:
    file = write(tmp_path / "t.parquet", columns("bytes"), **AS_DATASETS | PLAIN, write_page_checksum=True)
    pages = find_pages(file, pq.read_metadata(file.path), ["image"])
    assert pages is not None
    damaged = pages._page(0, 4, ROWS // 2)
    data = bytearray(file.path.read_bytes())
    data[damaged.offset + damaged.length - 100] ^= 1
    file.path.write_bytes(data)
    bad = {flaw.row: flaw.reason for flaw in check_problems(file.path).bad}
    own = range(damaged.first + 1, damaged.stop + 1)
    assert [row for row, reason in bad.items() if "row group 0 of the file is damaged" in reason] == list(own)


@pytest.mark.parametrize("kept", [0, 3])
def test_a_damaged_index_costs_nothing(tmp_path: Path, kept: int) -> None:
    """Rows are read without it."""
    file = write(tmp_path / "t.parquet", columns("struct"), **AS_DATASETS | PLAIN)
    before = open_problems(file.path).read(range(0, ROWS, 7))
    metadata, data = pq.read_metadata(file.path), bytearray(file.path.read_bytes())
    chunk = metadata.row_group(0).column(5)
    indexes = chunk.data_page_offset + chunk.total_compressed_size + kept
    footer = len(data) - metadata.serialized_size - 8
    data[indexes:footer] = bytes(footer - indexes)
    file.path.write_bytes(data)
    assert find_pages(file, metadata, ["image"]) is None
    assert open_problems(file.path).read(range(0, ROWS, 7)) == before


def test_small_row_groups_are_read_whole(tmp_path: Path) -> None:
    file = write(tmp_path / "t.parquet", columns("struct"), row_group_size=20, **AS_DATASETS | PLAIN)
    assert find_pages(file, pq.read_metadata(file.path), ["image"]) is None
