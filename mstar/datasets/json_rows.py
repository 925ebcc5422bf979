"""Single rows of JSON files: `.jsonl` by line, one big `.json` list or object by element.

Opening a file notes where each row begins and ends and forgets the rest; a row is parsed when it is asked
for. The elements of a `.json` file are found by parsing its bytes as Latin-1: the structure of JSON is ASCII,
so positions in that text are positions in the file, and text in UTF-8 is decoded per row, where an error can
be told apart.
"""

import json
import re
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from mstar.datasets.files import DataFile
from mstar.datasets.rows import BadRow, Row
from mstar.errors import UserError

BLANK = re.compile(r"[ \t\n\r]*")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class JsonRows:
    """The rows of one JSON file, given where each begins and ends; `pids` are the keys of an object."""

    unknown_columns: tuple[str, ...] = ()
    images_embedded = False

    def __init__(
        self, file: DataFile, starts: Sequence[int], ends: Sequence[int], pids: Sequence[str] = ()
    ) -> None:
        self.file = file
        self.starts = starts
        self.ends = ends
        self.pids = pids

    def __len__(self) -> int:
        return len(self.starts)

    def rows(self, indices: Iterable[int], images: bool = True) -> Iterator[Row | BadRow]:
        """The rows at these indices; JSON has to be parsed whole, so to leave out `images` saves nothing."""
        with self.file.local().open("rb") as file:
            for index in indices:
                file.seek(self.starts[index])
                outcome = self.parse(file.read(self.ends[index] - self.starts[index]))
                if isinstance(outcome, str):
                    yield BadRow([f"line {self._line(index)} {outcome}"])
                elif self.pids:
                    yield {"pid": self.pids[index]} | dict(outcome)
                else:
                    yield outcome

    def parse(self, data: bytes) -> Row | str:
        """The row in these bytes, or what is wrong with them."""
        return parse_row(data)

    def labels(self, columns: Collection[str]) -> Iterator[Row | BadRow]:
        """All rows; what is wrong with one is wrong with all of it."""
        return self.rows(range(len(self)))

    def _line(self, index: int) -> int:
        with self.file.local().open("rb") as file:
            return file.read(self.starts[index]).count(b"\n") + 1


def parse_row(data: bytes) -> Row | str:
    """The object in the bytes of one row, or what is wrong with them."""
    try:
        row = DECODER.decode(data.decode())
    except UnicodeDecodeError as error:
        return f"is not UTF-8 text (byte {error.start + 1})"
    except json.JSONDecodeError as error:
        return f"is not valid JSON ({error.msg} at column {error.colno})"
    except (ValueError, RecursionError) as error:
        return f"is not readable JSON ({error})"
    return row if isinstance(row, dict) else 'is not an object such as {"id": ..., "question": ...}'


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; ValueError where a key comes twice, of which one value would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = Counter(key for key, _ in pairs)
        raise ValueError(f"the key {keys.most_common(1)[0][0]} comes twice; keep one of them")
    return found


DECODER = json.JSONDecoder(object_pairs_hook=unique)


def open_lines(file: DataFile) -> JsonRows:
    """The rows of a JSONL file, one a line; blank lines are no rows."""
    starts, ends, position = array("Q"), array("Q"), 0
    with file.local().open("rb") as lines:
        for line in lines:
            mark = len(BYTE_ORDER_MARK) if position == 0 and line.startswith(BYTE_ORDER_MARK) else 0
            if line[mark:].strip():
                starts.append(position + mark)
                ends.append(position + len(line.rstrip(b"\r\n")))
            position += len(line)
    return JsonRows(file, starts, ends)


def first_keys(rows: JsonRows) -> frozenset[str]:
    """The keys of the first row; none where that cannot be read."""
    first = next(rows.rows(range(min(1, len(rows)))), None)
    return frozenset() if first is None or isinstance(first, BadRow) else frozenset(first)


def open_document(file: DataFile) -> tuple[JsonRows, frozenset[str]]:
    """The rows of a JSON list or object and the keys that they have; UserError if it is broken."""
    data = file.local().read_bytes()
    mark = len(BYTE_ORDER_MARK) if data.startswith(BYTE_ORDER_MARK) else 0
    starts, ends, pids, keys = array("Q"), array("Q"), [], set[str]()
    try:
        for pid, start, end, value in elements(data.decode("latin-1"), mark):
            starts.append(start)
            ends.append(end)
            keys.update(value if isinstance(value, dict) else ())
            if pid is not None:
                pids.append(pid.encode("latin-1", "replace").decode("utf-8", "replace"))
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise UserError(
            f"{file} is not valid JSON ({error.msg} at {place}); correct or download it again"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not readable JSON ({error}); correct or download it again") from error
    return JsonRows(file, starts, ends, pids), frozenset(keys)


def elements(text: str, position: int) -> Iterator[tuple[str | None, int, int, object]]:
    """Key (None in a list), start, end and value of every element of the list or object there."""
    decoder = json.JSONDecoder()
    position = skip_blanks(text, position)
    opening = text[position : position + 1]
    if opening not in ("[", "{"):
        raise json.JSONDecodeError("Expecting a list or an object", text, position)
    closing = "]" if opening == "[" else "}"
    position = skip_blanks(text, position + 1)
    more = text[position : position + 1] != closing
    while more:
        key = None
        if opening == "{":
            key, position = decoder.raw_decode(text, position)
            if not isinstance(key, str):
                raise json.JSONDecodeError("Expecting a key in double quotes", text, position)
            position = skip_blanks(text, expect(":", text, skip_blanks(text, position)))
        start = position
        value, position = decoder.raw_decode(text, start)
        yield key, start, position, value
        position = skip_blanks(text, position)
        more = text[position : position + 1] != closing
        if more:
            position = skip_blanks(text, expect(",", text, position))
    if skip_blanks(text, position + 1) != len(text):
        raise json.JSONDecodeError("Extra data", text, position + 1)


def expect(character: str, text: str, position: int) -> int:
    if text[position : position + 1] != character:
        raise json.JSONDecodeError(f"Expecting '{character}'", text, position)
    return position + 1


def skip_blanks(text: str, position: int) -> int:
    match = BLANK.match(text, position)
    return match.end() if match else position
