"""The rows of one split of a published set, wherever its files lie: in a folder, in a bucket, on a hub.

Most sets are files that open_problems reads. Three have a folder of their own form, many small JSON files,
which is read on this machine only: AI2D's `questions`, Geometry3K's folder per problem and GeoQA's `json`.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mstar.addresses import HUB, scheme_of
from mstar.datasets.files import DataFile, Folder, LocalFile, NotThere
from mstar.datasets.formats.ai2d import questions_about
from mstar.datasets.formats.geometry3k import problem_in
from mstar.datasets.formats.geoqa import question_in
from mstar.datasets.opening import AS_IT_IS, find, open_found
from mstar.datasets.problem_file import ProblemFile
from mstar.datasets.rows import OWN_ROWS, BadRow, Row, problem_from_row
from mstar.errors import UserError
from mstar.presets.catalogue import PublishedSet, Split
from mstar.records import Problem

Found = tuple[Row, Problem | BadRow]
ANSWERS = "data.json"
"""The file in the folder of one of Geometry3K's problems."""
QUESTIONS = "json"
"""GeoQA's folder of files."""


@dataclass(frozen=True, slots=True)
class Source:
    """The rows of some files. `images` is the folder where relative image paths begin."""

    address: str
    files: tuple[DataFile, ...]
    images: str
    rows: "ProblemFile | DocumentRows"

    def __len__(self) -> int:
        return len(self.rows)

    def scan(self, rows: Iterable[int]) -> Iterator[Found]:
        """Each of these rising rows, as found and as a problem."""
        return self.rows.scan(rows)


class DocumentRows:
    """Rows out of many JSON files, which are in memory; see ProblemFile."""

    def __init__(self, rows: Sequence[Row], folder: str, source: str) -> None:
        self._rows = rows
        self._folder = folder
        self._source = source

    def __len__(self) -> int:
        return len(self._rows)

    def scan(self, rows: Iterable[int]) -> Iterator[Found]:
        for number in rows:
            row = self._rows[number]
            try:
                yield row, problem_from_row(row, self._folder, self._source)
            except BadRow as bad:
                yield row, bad


def pinned(address: str) -> str:
    """The address as it is, on a hub with the commit that it means today."""
    if scheme_of(address) != HUB:
        return address.rstrip("/")
    try:
        from mstar.datasets.hub_files import pin
    except ModuleNotFoundError:
        raise UserError(f"{address} needs the hub's library: pip install 'mstar[hub]'") from None
    return pin(address)


def open_split(published: PublishedSet, split: Split, address: str) -> Source:
    """The first of a split's names that is there; UserError where none is."""
    for name in split.names:
        place = f"{address}/{name}"
        try:
            return open_documents(published, address, name) if is_documents(name) else open_files(place)
        except NotThere:
            continue
    raise UserError(
        f"{address} holds none of {', '.join(split.names)}; {published.title} is published at "
        f"{published.address}; name its folder or its address with --from"
    )


def is_documents(name: str) -> bool:
    return "*" in name and name.endswith(".json")


def open_files(place: str) -> Source:
    found = find(place, AS_IT_IS.storage)
    return source_of(open_found(place, found, OWN_ROWS))


def source_of(file: ProblemFile) -> Source:
    images = file.files[0].image_folder(file.format.image_folder)
    return Source(str(file.path), file.files, images, file)


def open_documents(published: PublishedSet, address: str, name: str) -> Source:
    """A folder of JSON files on this machine."""
    paths = sorted(Path(address).glob(name), key=by_number) if scheme_of(address) is None else []
    if not paths:
        raise NotThere(f"{address}/{name} is not there")
    rows = [row for path in paths for row in rows_in(path, path.relative_to(address).as_posix())]
    files = tuple(LocalFile(path) for path in paths)
    return Source(f"{address}/{name}", files, address, DocumentRows(rows, address, published.title))


def rows_in(path: Path, place: str) -> Iterable[Row]:
    """The rows in one file of such a folder, where it has this place."""
    document = read_document(path)
    if path.name == ANSWERS:
        return [problem_in(document, place.rpartition("/")[0])]
    if path.parent.name == QUESTIONS:
        return [question_in(document, place)]
    return questions_about(document, path.name)


def by_number(path: Path) -> tuple[int, str]:
    """Files and folders that are named by numbers, in their order."""
    name = path.parent.name if path.name == ANSWERS else path.name.partition(".")[0]
    return (int(name) if name.isdecimal() else -1, str(path))


def read_document(path: Path) -> Row:
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is not readable JSON ({error}); copy the data set again") from error
    if not isinstance(document, dict):
        raise UserError(f"{path} holds no object; copy the data set again")
    return document


def find_archives(published: PublishedSet, address: str) -> list[DataFile]:
    """The zip files with a set's images that are there."""
    found: list[Folder | list[DataFile]] = []
    for name in published.archives:
        try:
            found.append(find(f"{address}/{name}", AS_IT_IS.storage))
        except NotThere:
            continue
    return [file for files in found if isinstance(files, list) for file in files]
