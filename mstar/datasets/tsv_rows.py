"""Single rows of a TSV or CSV file as pandas writes it: a header, quotes around what holds tabs, commas or
lines. In CSV a semicolon may stand for the comma, as spreadsheets of many countries have it.

An empty field is one that is not there. As in JSON files, opening notes where each row begins and ends, and a
row is parsed when it is asked for. An image column may hold the index of another row, which then has the
image (VLMEvalKit's files).
"""

import csv
import io
import sys
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import chain

from mstar.datasets.files import DataFile
from mstar.datasets.json_rows import BYTE_ORDER_MARK, JsonRows
from mstar.datasets.rows import BadRow, Row
from mstar.errors import UserError

LONGEST_INDEX = 64
"""Characters; an image is longer."""


class TsvRows(JsonRows):
    """The rows of one such file, given where each begins and ends."""

    def __init__(self, file: DataFile, starts: Sequence[int], ends: Sequence[int]) -> None:
        super().__init__(file, starts, ends)
        with file.local().open("rb") as opened:
            self._delimiter, found = records(opened, file.name.suffix)
            header = next(found, b"").removeprefix(BYTE_ORDER_MARK)
        try:
            self.columns = fields(header, self._delimiter)
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(
                f"{file} does not begin with the names of its columns in UTF-8 ({error}); save it as UTF-8"
            ) from None

    def parse(self, data: bytes) -> Row | str:
        """The row in these bytes, or what is wrong with them."""
        try:
            found = fields(data, self._delimiter)
        except UnicodeDecodeError as error:
            return f"is not UTF-8 text (byte {error.start + 1})"
        except csv.Error as error:
            return f"is no row of a table ({error})"
        if len(found) != len(self.columns):
            return f"has {len(found)} fields; the header has {len(self.columns)}"
        return {name: value or None for name, value in zip(self.columns, found, strict=True)}

    def rows(self, indices: Iterable[int], images: bool = True) -> Iterator[Row | BadRow]:
        """The rows at these indices, each with its image, if these are wanted."""
        for row in super().rows(indices, images):
            if images and not isinstance(row, BadRow) and is_index(row.get("image")):
                row = {**row, "image": self._image_of_row(str(row["image"]))}
            yield row

    def labels(self, columns: Collection[str]) -> Iterator[Row | BadRow]:
        """All rows."""
        return super().rows(range(len(self)))

    def _image_of_row(self, index: str) -> object:
        """The image of the row with an index; the index itself where there is no such row."""
        for row in super().rows([self._places[index]] if index in self._places else []):
            return index if isinstance(row, BadRow) else row.get("image")
        return index

    @cached_property
    def _places(self) -> dict[str, int]:
        """Where the rows with images are, by index."""
        found = enumerate(super().rows(range(len(self))))
        good = ((place, row) for place, row in found if not isinstance(row, BadRow))
        return {str(row.get("index")): place for place, row in good if not is_index(row.get("image"))}


def is_index(image: object) -> bool:
    """Whether this stands for an image and is none."""
    return isinstance(image, str) and 0 < len(image) <= LONGEST_INDEX


def delimiter_of(suffix: str, header: bytes) -> str:
    if suffix.lower() == ".tsv":
        return "\t"
    return ";" if b";" in header and b"," not in header else ","


def open_tsv(file: DataFile) -> TsvRows:
    """The rows of such a file."""
    starts, ends, position = array("Q"), array("Q"), 0
    with file.local().open("rb") as opened:
        delimiter, found = records(opened, file.name.suffix)
        nothing = f"{delimiter} \r\n".encode()  # spreadsheets leave rows of empty cells
        for number, record in enumerate(found):
            if number and record.strip(nothing):
                starts.append(position)
                ends.append(position + len(record))
            position += len(record)
    return TsvRows(file, starts, ends)


def records(lines: Iterable[bytes], suffix: str) -> tuple[str, Iterator[bytes]]:
    """The delimiter, by the first line, and the lines, put together where a quoted field spans several."""
    waiting = iter(lines)
    first = next(waiting, b"")
    delimiter = delimiter_of(suffix, first)
    return delimiter, joined_lines(chain([first] if first else [], waiting), delimiter)


def joined_lines(lines: Iterator[bytes], delimiter: str) -> Iterator[bytes]:
    """A quote opens a field at its beginning only (not in `a 5" screen`), so csv itself says where a record
    ends, by the lines that it asks for. In Latin-1 every byte is a letter.
    """
    for line in lines:
        taken = [line]
        if b'"' in line:
            with suppress(csv.Error):  # parsing the row will say so
                next(reader(taking(line, lines, taken), delimiter))
        yield b"".join(taken)


def taking(line: bytes, lines: Iterator[bytes], taken: list[bytes]) -> Iterator[str]:
    yield line.removeprefix(BYTE_ORDER_MARK).decode("latin-1")
    for more in lines:
        taken.append(more)
        yield more.decode("latin-1")


def fields(record: bytes, delimiter: str) -> list[str]:
    text = record.decode().rstrip("\r\n")
    return next(reader(io.StringIO(text, newline=""), delimiter), [])


def reader(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    csv.field_size_limit(sys.maxsize)  # for images
    return csv.reader(lines, delimiter=delimiter)
