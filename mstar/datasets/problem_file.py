"""ProblemFile: the problems at one path, however many files and whatever format, read row by row."""

import hashlib
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate, groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING

from mstar.addresses import BUCKET, scheme_of
from mstar.answers import Expected
from mstar.config_storage import StorageSettings
from mstar.datasets.files import DataFile, Part
from mstar.datasets.held import HELD_BYTES, Held
from mstar.datasets.image_hashes import image_hashes
from mstar.datasets.index import Index, IndexWriter, load_index, origin_of, stamps_of
from mstar.datasets.json_rows import JsonRows
from mstar.datasets.own_columns import refuse_unseen
from mstar.datasets.rows import (
    ROW,
    BadRow,
    Format,
    Row,
    expected_from_row,
    problem_from_row,
    without_images,
)
from mstar.datasets.values import printable
from mstar.errors import ClosedPlace, UserError
from mstar.records import Problem

if TYPE_CHECKING:
    from mstar.datasets.bucket_images import BucketImages

BAD: Row = {"answer": ""}
"""Stands in the index for a row that is there and cannot be read: it is not one without an answer."""
FETCHED_TOGETHER = 16
"""Rows whose images are asked for at the same time, where they are in a bucket."""


class ProblemFile:
    """Problems in file order; only what is asked for is read, and little of it kept, so images never
    fill the memory.

    What is asked of all rows (ids, sources, identity) comes from an index, which is made in one pass over the
    file and kept in the cache folder; `index` is one that the caller has loaded already.
    """

    def __init__(
        self, path: str | Path, format: Format, parts: Sequence[Part], source: str, index: Index | None = None
    ) -> None:
        self.path = path
        self.format = format
        self.storage = StorageSettings()
        """How buckets are reached."""
        self.stamps = stamps_of(part.file for part in parts)
        """By which a change of the files shows."""
        self._parts = parts
        self._ends = list(accumulate(len(part) for part in parts))
        self._source = source
        self._folders = [part.file.image_folder(format.image_folder) for part in parts]
        self._loaded = index
        self.held = Held(HELD_BYTES)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @property
    def files(self) -> tuple[DataFile, ...]:
        """What the rows are read from."""
        return tuple(part.file for part in self._parts)

    @property
    def ids(self) -> Sequence[str]:
        """The id of every problem; UserError if one is missing or comes twice."""
        return self._index.ids

    @property
    def sources(self) -> Sequence[str]:
        """The source of every problem (for accuracy by source)."""
        return self._index.sources

    @property
    def unlabelled(self) -> Sequence[str]:
        """The ids of the problems without an answer."""
        return self._index.unlabelled

    @cached_property
    def sha256(self) -> str:
        """The hash of the file, or of a folder's files in name order; images beside it do not count."""
        digests = [part.file.sha256() for part in self._parts]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()

    @cached_property
    def identity(self) -> str:
        """The hash of all that a problem is made of: `sha256` and the image files beside the file.

        It is `sha256` itself where there are none; where the files lie does not count. Raises as `ids` does.
        """
        version = [f"{self.format.name} {self.format.version}"] if self.format.version else []
        if not self._index.image_paths and not version:
            return self.sha256
        lines = [self.sha256, *version, *(sha256 or "missing" for sha256 in self.image_hashes)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @cached_property
    def image_hashes(self) -> Sequence[str | None]:
        """The sha256 of every image file, in the order in which rows first name them; None if missing.

        Of those in a bucket it is ETag and size (see bucket_images.py).
        """
        paths = self._index.image_paths
        stored = [path for path in paths if scheme_of(path) == BUCKET]
        if not stored:
            return image_hashes(self.path, paths)
        local = [path for path in paths if scheme_of(path) != BUCKET]
        found = dict(zip(local, image_hashes(self.path, local), strict=True))
        try:
            found |= zip(stored, self._stored_images.identities(stored), strict=True)
        except ClosedPlace as error:
            remedy = f"run `mstar problems check {self.path}` to see which rows name it"
            raise ClosedPlace(f"{self.path}: {error}; {remedy}") from error
        return [found[path] for path in paths]

    def contents(self) -> Iterator[tuple[int | None, list[int] | None]]:
        """Of every problem a hash of its question and the positions of its images in `image_hashes`; None for
        a question or image that cannot be read, and for embedded images.
        """
        return self._index.contents()

    @property
    def unknown_columns(self) -> dict[str, int]:
        """Rows under each column that means nothing here (tables only; JSON rows show their keys)."""
        rows: dict[str, int] = {}
        for part in self._parts:
            for column in part.unknown_columns:
                rows[column] = rows.get(column, 0) + len(part)
        return rows

    def read(self, rows: Sequence[int], images: bool = True) -> list[Problem]:
        """The problems in these rows (from 0), in the order asked for; cheapest when the numbers rise.

        Images are paths or bytes, not decoded; those in a bucket come with their bytes, and remember their
        address. Without `images` none are read and problems have none.
        UserError names a bad row; ids are checked in the whole file. Whether a gold expression can be parsed
        is left to `check_problems`.
        """
        if any(not 0 <= row < len(self._index) for row in rows):
            raise IndexError(f"rows are 0..{len(self) - 1}, asked for {min(rows)}..{max(rows)}")
        held = self.held.problems
        new = sorted(row for row in set(rows) if row not in held)
        read: dict[int, Problem] = {}
        for row, (_, outcome) in zip(new, self.scan(new, images), strict=True):
            if isinstance(outcome, BadRow):
                raise self._refusal(row, outcome)
            read[row] = outcome
            if images:
                self.held.add(row, outcome)
        problems = [read[row] if row in read else held[row] for row in rows]
        return problems if images else [replace(one, images=()) if one.images else one for one in problems]

    def golds(self, rows: Sequence[int]) -> dict[str, Expected]:
        """What labelled problems in these rising rows expect, by id; cheaper than `read`, errors as there."""
        ids, held = self._index.ids, self.held.problems
        found = {ids[row]: held[row].expected for row in rows if row in held and held[row].answer is not None}
        new = (row for row in rows if row not in held)
        for _, row, read in self._rows(new, images=False):
            try:
                if isinstance(read, BadRow):
                    raise read
                expected = expected_from_row(self.format.convert(self._numbered(read, row)))
            except BadRow as bad:
                raise self._refusal(row, bad) from None
            if expected is not None:
                found[ids[row]] = expected
        return found

    def scan(self, rows: Iterable[int], images: bool = True) -> Iterator[tuple[Row, Problem | BadRow]]:
        """What is in each of these rising rows, as found and as a problem; bad rows do not stop it."""
        found = self._scan(rows, images)
        while batch := list(islice(found, FETCHED_TOGETHER)):
            yield from self._with_stored_images(batch)

    def _scan(self, rows: Iterable[int], images: bool) -> Iterator[tuple[Row, Problem | BadRow]]:
        for part, number, row in self._rows(rows, images):
            if isinstance(row, BadRow):
                yield {}, row
                continue
            try:
                ours = self.format.convert(self._numbered(row, number))
                ours = ours if images else without_images(ours)
                yield row, problem_from_row(ours, self._folders[part], self._source)
            except BadRow as bad:
                yield row, bad

    def _numbered(self, row: Row, number: int) -> Row:
        return {**row, ROW: number} if self.format.numbered else row

    def _with_stored_images(
        self, batch: Sequence[tuple[Row, Problem | BadRow]]
    ) -> Iterable[tuple[Row, Problem | BadRow]]:
        images = [image for _, one in batch if isinstance(one, Problem) for image in one.images]
        if not any(image.path and scheme_of(image.path) == BUCKET for image in images):
            return batch
        return self._stored_images.loaded(batch)

    @cached_property
    def _stored_images(self) -> "BucketImages":
        from mstar.datasets.bucket_images import BucketImages

        return BucketImages(self._folders[0], self.storage)

    def _rows(self, rows: Iterable[int], images: bool) -> Iterator[tuple[int, int, Row | BadRow]]:
        """The number of its part, its own number and what is there, for each of these rising rows."""
        for part, group in groupby(rows, key=lambda row: bisect_right(self._ends, row)):
            start = self._ends[part - 1] if part else 0
            numbers = list(group)
            found = self._parts[part].rows((number - start for number in numbers), images)
            for number, row in zip(numbers, found, strict=True):
                yield part, number, row

    @cached_property
    def _index(self) -> Index:
        """The facts about all rows: from the cache, or else made now and kept, if the files are at rest."""
        now_ns = time.time_ns()
        files = [part.file for part in self._parts]
        stamps = stamps_of(files)
        origin = origin_of(self.format.name, self._source, stamps, self._folders)
        known = self._loaded or load_index(self.path, stamps)
        if known is not None and known.origin == origin:
            return known
        index = self._made_index().finish(origin)
        settled = all(file.is_settled(stamp, now_ns) for file, (_, stamp) in zip(files, stamps, strict=True))
        if settled and stamps_of(files) == stamps:
            index.save(self.path)
        return index

    def _made_index(self) -> IndexWriter:
        writer = IndexWriter()
        seen: set[str] = set()
        for number, (label, row, folder) in enumerate(self._labelled_rows()):
            if isinstance(label, BadRow):
                raise self._refusal(number, label)
            try:
                id, source = self.format.label(label, self._source)
            except ValueError as error:
                raise self._refusal(number, BadRow([str(error)])) from error
            if id in seen:
                raise self._refusal(number, BadRow(["this id was used before"], id))
            seen.add(id)
            writer.add(id, source, row, folder)
        for part in self._parts:
            if isinstance(part, JsonRows):
                writer.add_places(part)
        return writer

    def _labelled_rows(self) -> Iterator[tuple[Row | BadRow, Row, str | None]]:
        """Of every row what holds its id and source, the row in mstar's own keys (empty if it is bad, which
        reading it will say), and the folder of its images, if these are not left out.
        """
        start, seen = 0, set[str]()
        for part, folder in zip(self._parts, self._folders, strict=True):
            labels: list[Row | BadRow] = []
            looked_at = None if part.images_embedded else folder
            for number, row in enumerate(part.rows(range(len(part)), images=not part.images_embedded)):
                if isinstance(row, BadRow):
                    labels = labels or list(part.labels(self.format.label_columns))
                    label = labels[number]
                    if not isinstance(label, BadRow):
                        label = self._numbered(label, start + number)
                    yield label, BAD, looked_at
                else:
                    seen.update(row if self.format.own_names else ())
                    numbered = self._numbered(row, start + number)
                    yield numbered, self._converted(numbered), looked_at
            start += len(part)
        refuse_unseen(self.path, self.format.own_names, seen)

    def _converted(self, row: Row) -> Row:
        try:
            return self.format.convert(row)
        except BadRow:
            return BAD

    def _refusal(self, row: int, bad: BadRow) -> UserError:
        remedy = f"run `mstar problems check {self.path}` to see every bad row"
        return UserError(f"{self.path}: {row_name(row + 1, bad.id)}: {bad}; {remedy}")


def row_name(number: int, id: str | None) -> str:
    """How messages name a row: "row 12 (id p12)"."""
    return f"row {number} ({'no id' if id is None else f'id {printable(id)}'})"
