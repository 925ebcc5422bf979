"""The index of a problem file: what is known of all its rows without reading them again.

Ids, sources, which rows have an answer, a hash of each question, which image files each row names and, for
JSON, where rows begin and end. It is made in one pass over the file and kept in the cache folder (see
content_hashes), with the stamps of the files it was made from. It is used as long as these are the same.
The contents of images are not in it (see image_hashes).
"""

import hashlib
import json
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mstar.content_hashes import entry_name, read_cached, write_cached
from mstar.datasets.files import DataFile, FileStamp
from mstar.datasets.json_rows import JsonRows
from mstar.datasets.rows import Row, image_path, read_images, read_question

VERSION = 3
FOLDER = "problems"

FACTS = pa.schema(
    {
        "id": pa.string(),
        "source": pa.dictionary(pa.int32(), pa.string()),
        "labelled": pa.bool_(),
        "question": pa.uint64(),
        "images": pa.list_(pa.int32()),
    }
)
"""Of a row; `question` is null where there is none, `images` where they are embedded."""
PLACES = pa.schema({"start": pa.uint64(), "end": pa.uint64(), "pid": pa.binary()})
"""Where it is in a JSON file; null in others."""
ROWS_AT_ONCE = 1 << 14
"""As Python's own objects, which take several times the memory of columns."""

IMAGES = pa.schema({"path": pa.binary()})

Origin = dict[str, Any]
"""What an index was made from, as JSON has it: version, format, source, parts (path and stamp), folders."""


class Index:
    """The facts about all rows; image files are named once each, in the order in which rows name them."""

    def __init__(self, origin: Origin, rows: Any, images: Any) -> None:
        self.origin = origin
        self._rows = rows
        self._images = images

    def __len__(self) -> int:
        rows: int = self._rows.num_rows
        return rows

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(self._rows["id"].to_pylist())

    @cached_property
    def sources(self) -> tuple[str, ...]:
        column = self._rows["source"].combine_chunks()
        names = column.dictionary.to_pylist()
        return tuple(names[number] for number in column.indices.to_pylist())

    @cached_property
    def unlabelled(self) -> tuple[str, ...]:
        """The ids of the problems without an answer."""
        return tuple(
            id
            for id, labelled in zip(self.ids, self._rows["labelled"].to_pylist(), strict=True)
            if not labelled
        )

    @cached_property
    def image_paths(self) -> tuple[str, ...]:
        return tuple(path.decode("utf-8", "surrogatepass") for path in self._images["path"].to_pylist())

    def contents(self) -> Iterator[tuple[int | None, list[int] | None]]:
        """Of each row the hash of its question and the positions of its images in `image_paths`."""
        for batch in self._rows.select(["question", "images"]).to_batches(ROWS_AT_ONCE):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

    def json_rows(self, file: DataFile) -> JsonRows:
        """The rows of the JSON file that the index is about."""
        pids = self._rows["pid"].drop_null().to_pylist()
        return JsonRows(file, *self.places(), [pid.decode("utf-8", "surrogatepass") for pid in pids])

    def places(self) -> tuple[Sequence[int], Sequence[int]]:
        """Where the rows of a text file begin and end."""
        starts, ends = (array("Q", self._rows[name].to_numpy().tobytes()) for name in ("start", "end"))
        return starts, ends

    def save(self, path: Path | str) -> None:
        """Keep it in the cache, for the problems at a path."""
        metadata = {"origin": json.dumps(self.origin)}
        write_cached(f"{FOLDER}/{entry_name(path)}.rows", to_bytes(self._rows, metadata))
        write_cached(f"{FOLDER}/{entry_name(path)}.images", to_bytes(self._images, metadata))


class IndexWriter:
    """Collects the facts, row by row."""

    def __init__(self) -> None:
        self._columns: dict[str, list[object]] = {name: [] for name in FACTS.names}
        self._tables: list[Any] = []
        self._places: dict[str, Any] = {}
        self._images: dict[str, int] = {}

    def add(self, id: str, source: str, row: Row, folder: str | None) -> None:
        """A row in mstar's own keys, and where its image paths begin: None if its images were left out.

        What is wrong with it besides its id shows when it is read.
        """
        columns = self._columns
        columns["id"].append(id)
        columns["source"].append(source)
        columns["labelled"].append(any(row.get(key) is not None for key in ("answer", "answers")))
        columns["question"].append(question_hash(row))
        columns["images"].append(self._image_numbers(row, folder))
        if len(columns["id"]) == ROWS_AT_ONCE:
            self._pack()

    def add_places(self, rows: JsonRows) -> None:
        """Where the rows of a JSON file are."""
        self._places = {
            name: np.asarray(found) for name, found in (("start", rows.starts), ("end", rows.ends))
        }
        if rows.pids:
            self._places["pid"] = [pid.encode("utf-8", "surrogatepass") for pid in rows.pids]

    def finish(self, origin: Origin) -> Index:
        self._pack()
        rows = pa.concat_tables(self._tables).unify_dictionaries().combine_chunks()
        for field in PLACES:
            found = self._places.get(field.name)
            places = pa.nulls(len(rows), field.type) if found is None else pa.array(found, field.type)
            rows = rows.append_column(field, places)
        paths = [path.encode("utf-8", "surrogatepass") for path in self._images]
        return Index(origin, rows, pa.table({"path": paths}, IMAGES))

    def _pack(self) -> None:
        self._tables.append(pa.table(self._columns, FACTS))
        self._columns = {name: [] for name in FACTS.names}

    def _image_numbers(self, row: Row, folder: str | None) -> list[int] | None:
        if folder is None:
            return None
        try:
            images = read_images(row)
        except ValueError:
            return None
        paths = [image_path(image.path, folder) for image in images if image.path is not None]
        numbers = [self._images.setdefault(path, len(self._images)) for path in paths]
        return numbers if len(paths) == len(images) else None


def question_hash(row: Row) -> int | None:
    """The same for questions that differ in case, spacing and Unicode's spellings of a character only."""
    try:
        question = read_question(row)
    except ValueError:
        return None
    spelled = question if question.isascii() else unicodedata.normalize("NFKC", question)
    plain = " ".join(spelled.casefold().split())
    return int.from_bytes(hashlib.blake2b(plain.encode(), digest_size=8).digest(), "little")


def origin_of(
    format: str, source: str, stamps: Sequence[tuple[str, FileStamp]], folders: Sequence[str]
) -> Origin:
    """What an index of these files is made from: places and stamps, and where their image paths begin."""
    return {
        "version": VERSION,
        "format": format,
        "source": source,
        "parts": [[place, *stamp] for place, stamp in stamps],
        "folders": list(folders),
    }


def load_index(path: Path | str, stamps: Sequence[tuple[str, FileStamp]]) -> Index | None:
    """The index that was kept for the problems at a path, if they still are these files, unchanged."""
    kept = [read_cached(f"{FOLDER}/{entry_name(path)}.{end}") for end in ("rows", "images")]
    try:
        rows, images = (pa.ipc.open_file(pa.py_buffer(data or b"")).read_all() for data in kept)
        origins = [table.schema.metadata[b"origin"] for table in (rows, images)]
        origin = json.loads(origins[0])
        current = [[place, *stamp] for place, stamp in stamps]
        known = origin["version"] == VERSION and origin["parts"] == current and origins[0] == origins[1]
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError):
        return None
    return Index(origin, rows, images) if known else None


def stamps_of(files: Iterable[DataFile]) -> list[tuple[str, FileStamp]]:
    """Place and stamp of each file."""
    return [(file.place, file.stamp()) for file in files]


def have_changed(files: Iterable[DataFile], stamps: Sequence[tuple[str, FileStamp]]) -> bool:
    """Whether files that had these stamps have others now, or are gone."""
    try:
        return stamps_of(files) != stamps
    except OSError:
        return True


def to_bytes(table: Any, metadata: dict[str, str]) -> memoryview:
    file = pa.BufferOutputStream()
    with pa.ipc.new_file(file, table.schema.with_metadata(metadata)) as writer:
        writer.write_table(table)
    return memoryview(file.getvalue())
