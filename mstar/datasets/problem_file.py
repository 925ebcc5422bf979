"""ProblemFile: the problems at one path, however many files and whatever format, read row by row."""

import hashlib
import weakref
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate, groupby
from pathlib import Path
from typing import Protocol

from mstar.answers import AnswerChecker
from mstar.datasets.rows import BadRow, Format, Row, printable, problem_from_row
from mstar.errors import UserError
from mstar.records import Problem


class Part(Protocol):
    """One file of rows. What cannot be read comes as a BadRow, so that it does not hide the next row."""

    path: Path
    unknown_columns: tuple[str, ...]

    def __len__(self) -> int: ...

    def rows(self, indices: Iterable[int]) -> Iterator[Row | BadRow]: ...

    def labels(self, columns: Sequence[str]) -> Iterator[Row | BadRow]: ...


class ProblemFile:
    """Problems on disk in file order; only what is asked for is read, so images never fill the memory."""

    def __init__(self, path: Path, format: Format, parts: Sequence[Part], source: str) -> None:
        self.path = path
        self.format = format
        self._parts = parts
        self._ends = list(accumulate(len(part) for part in parts))
        self._source = source
        self._folders = [image_folder(part.path, format) for part in parts]
        self._checker = AnswerChecker()  # starts a process only where a gold answer is an expression
        weakref.finalize(self, self._checker.close)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @property
    def ids(self) -> Sequence[str]:
        """The id of every problem; UserError if one is missing or comes twice."""
        return self._labels[0]

    @property
    def sources(self) -> Sequence[str]:
        """The source of every problem (for accuracy by source)."""
        return self._labels[1]

    @cached_property
    def sha256(self) -> str:
        """Identity of the file, or of a folder's files in name order; images beside it do not count."""
        digests = [file_sha256(part.path) for part in self._parts]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()

    @property
    def unknown_columns(self) -> dict[str, int]:
        """Rows under each column that means nothing here (tables only; JSON rows show their keys)."""
        rows: dict[str, int] = {}
        for part in self._parts:
            for column in part.unknown_columns:
                rows[column] = rows.get(column, 0) + len(part)
        return rows

    def read(self, rows: Sequence[int]) -> list[Problem]:
        """The problems in these rows (from 0), in the order asked for; cheapest when the numbers rise.

        Images are paths or bytes, not decoded. UserError names a bad row; ids are checked in the whole file.
        """
        if any(not 0 <= row < len(self.ids) for row in rows):
            raise IndexError(f"rows are 0..{len(self) - 1}, asked for {min(rows)}..{max(rows)}")
        order = sorted(range(len(rows)), key=rows.__getitem__)
        problems: dict[int, Problem] = {}
        for position, (_, outcome) in zip(
            order, self.scan(rows[position] for position in order), strict=True
        ):
            if isinstance(outcome, BadRow):
                raise self._refusal(rows[position], outcome)
            problems[position] = outcome
        return [problems[position] for position in range(len(rows))]

    def scan(self, rows: Iterable[int]) -> Iterator[tuple[Row, Problem | BadRow]]:
        """What is in each of these rising rows, as found and as a problem; bad rows do not stop it."""
        for part, group in groupby(rows, key=lambda row: bisect_right(self._ends, row)):
            start = self._ends[part - 1] if part else 0
            for row in self._parts[part].rows(index - start for index in group):
                yield ({}, row) if isinstance(row, BadRow) else (row, self._problem(row, self._folders[part]))

    def _problem(self, row: Row, folder: Path) -> Problem | BadRow:
        try:
            return problem_from_row(self.format.convert(row), folder, self._source, self._checker)
        except BadRow as bad:
            return bad

    @cached_property
    def _labels(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        sources: dict[str, str] = {}
        for number, row in enumerate(self._label_rows()):
            if isinstance(row, BadRow):
                raise self._refusal(number, row)
            try:
                id, source = self.format.label(row, self._source)
            except ValueError as error:
                raise self._refusal(number, BadRow([str(error)])) from error
            if id in sources:
                raise self._refusal(number, BadRow(["this id was used before"], id))
            sources[id] = source
        return tuple(sources), tuple(sources.values())

    def _label_rows(self) -> Iterator[Row | BadRow]:
        for part in self._parts:
            yield from part.labels(self.format.label_columns)

    def _refusal(self, row: int, bad: BadRow) -> UserError:
        remedy = f"run `mstar problems check {self.path}` to see every bad row"
        return UserError(f"{self.path}: {row_name(row + 1, bad.id)}: {bad}; {remedy}")


def row_name(number: int, id: str | None) -> str:
    """How messages name a row: "row 12 (id p12)"."""
    if id is None:
        return f"row {number} (no id)"
    return f"row {number} (id {printable(id)})"


def image_folder(path: Path, format: Format) -> Path:
    beside = path.parent.absolute()
    below = beside / format.image_folder
    return below if below.is_dir() else beside


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
