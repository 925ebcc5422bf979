"""One row (a dict in mstar's own keys) becomes one Problem, or a BadRow with every reason why it cannot.

`READERS` has one function per field of Problem; each takes the row and raises ValueError with one line. The
gold answer is read here too, so that a problem that has been read can be scored; whether a formula can be
parsed takes a worker process, and is looked at by check_problems only. Images are not opened here (see
images.py).
"""

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from mstar.addresses import BUCKET, joined, scheme_of
from mstar.answers import ANSWER_TYPES, AnswerType, Expected
from mstar.answers.golds import read_golds
from mstar.datasets.values import listed, quote, reachable, whole, written, written_each
from mstar.records import ImageSource, Problem

Row = Mapping[str, object]

PLACES = "\0places"
"""The key under which a format says where images are in a question; no file has it."""
ROW = "\0row"
"""The key under which a row comes with its number in the file, from 0."""


class BadRow(ValueError):
    """A row that is no problem: all the reasons, and its id where that much is known."""

    def __init__(self, reasons: Sequence[str], id: str | None = None) -> None:
        super().__init__("; ".join(reasons))
        self.id = id


@dataclass(frozen=True, slots=True)
class Format:
    """How one family of files names its columns and how its rows become rows in mstar's own keys."""

    name: str
    known: frozenset[str]
    """Keys that a row may have; others are ignored and counted."""
    label: Callable[[Row, str], tuple[str, str]]
    """(row, source of the file) -> (id, source of the row); ValueError if the row has no usable id."""
    convert: Callable[[Row], Row]
    label_columns: tuple[str, ...] = ()
    """In tables: the columns that `label` reads."""
    required: tuple[tuple[str, ...], ...] = ()
    """In tables: what there must be, one column of every group."""
    image_columns: frozenset[str] = frozenset()
    """In tables: the columns with images, which are left out where nobody asks for them."""
    own_names: Mapping[str, str] = field(default_factory=dict)
    """What the user calls mstar's keys (own_columns.py)."""
    numbered: bool = False
    """Whether rows come with their number, for those that have no id."""
    marks: frozenset[str] = frozenset()
    """Columns or keys that tell a file of this format."""
    split_key: str = ""
    """The key that says to which split a row belongs, in files that hold several."""
    version: int = 0
    """Raised when the same rows come to give other problems; part of what a run knows a file by."""
    image_folder: str = ""
    """Where image paths begin, seen from the file's own folder, if that folder is there."""


def problem_from_row(row: Row, folder: str, source: str) -> Problem:
    """The problem in a row, or BadRow; image paths begin at `folder`, `source` is for rows without one."""
    try:
        fields = {name: read(row) for name, read in READERS.items()}
    except ValueError:
        raise _bad_row(row) from None
    answer, *others = fields.pop("answers") or (None,)
    if fields["images"]:
        fields["images"] = tuple(resolve(image, folder) for image in fields["images"])
    fields["source"] = fields["source"] or source
    problem = Problem(**fields, answer=answer, other_answers=tuple(others))
    places, images = len(problem.image_places), len(problem.images)
    if places not in (0, images):
        found = f"question has {places} <image>, and the row {images} images; make them as many"
        raise BadRow([found], problem.id)
    if answer is None:
        return problem
    try:
        read_golds(problem.expected)
    except ValueError as error:
        raise BadRow([str(error)], problem.id) from error
    return problem


def expected_from_row(row: Row) -> Expected | None:
    """What the problem in a row expects of an answer, None where it has no gold; or BadRow."""
    try:
        answers = read_answers(row)
        how = read_answer_type(row), read_choices(row), read_precision(row), read_unit(row)
    except ValueError:
        raise _bad_row(row) from None
    return Expected(answers[0], *how, answers[1:]) if answers else None


def _bad_row(row: Row) -> BadRow:
    """All that is wrong with a row."""
    reasons, fields = [], {}
    for name, read in READERS.items():
        try:
            fields[name] = read(row)
        except ValueError as error:
            reasons.append(str(error))
    return BadRow(reasons, fields.get("id"))


def resolve(image: ImageSource, folder: str) -> ImageSource:
    return image if image.path is None else ImageSource(path=image_path(image.path, folder))


def without_images(row: Row) -> Row:
    return {key: value for key, value in row.items() if key not in ("image", "images", PLACES)}


def image_path(path: str, folder: str) -> str:
    """The path or address of an image file, which a row may give as seen from the folder of its file."""
    if scheme_of(path) == BUCKET:
        return joined(path)
    return os.path.join(folder, path) if scheme_of(folder) is None or path[0] == "/" else joined(folder, path)


def read_label(row: Row, source: str) -> tuple[str, str]:
    """The id and the source of a row in mstar's own keys."""
    return read_id(row), read_source(row) or source


def read_id(row: Row) -> str:
    """The id; whole numbers and UUIDs are accepted and become text."""
    value = row.get("id")
    if isinstance(value, int | UUID) and not isinstance(value, bool):
        return str(value)
    return read_text(row, "id")


def row_id(row: Row) -> str:
    """An id from the place of a row that has none."""
    return f"row-{row[ROW] + 1}"  # type: ignore[operator]


def read_question(row: Row) -> str:
    return read_text(row, "question")


def read_answer(row: Row) -> str | None:
    """The gold answer, of several accepted ones the first; None for an unlabelled problem."""
    return next(iter(read_answers(row)), None)


def read_other_answers(row: Row) -> tuple[str, ...]:
    """The accepted answers but the first."""
    try:
        return read_answers(row)[1:]
    except ValueError:
        return ()  # read_answer says what is wrong


def read_answers(row: Row) -> tuple[str, ...]:
    """The accepted golds, under answer or answers, as a person would write them: 14, 3.5, yes."""
    value, several = row.get("answer"), listed(row.get("answers"))
    if value is not None and several is not None:
        raise ValueError("answer and answers are both given; keep answer for one gold, answers for several")
    if several is not None and (not isinstance(several, list) or not several):
        raise ValueError(f"answers is {quote(several)}; it must be a list of one or more accepted answers")
    if value is None and several is None and "answer" not in row and (key := misspelt("answer", row)):
        raise ValueError(f'answer is missing, but there is {quote(key)}; rename it, or add "answer": null')
    if isinstance(value, str) and not value.strip():
        raise ValueError("answer is empty; write the gold answer, or null where there is none")
    if not isinstance(several, list):
        return () if value is None else (written(value, "answer"),)
    return written_each(several, "accepted answer")


def misspelt(key: str, names: Iterable[str]) -> str | None:
    """The name that is probably meant to be a key that is not there."""
    plain = {name.lower(): name for name in names if name not in OWN_ROWS.known}
    return next((plain[near] for near in difflib.get_close_matches(key, plain, 1, 0.75)), None)


def read_answer_type(row: Row) -> AnswerType:
    """The answer type; rows with choices may leave it out."""
    value = row.get("answer_type")
    if value is None and row.get("choices"):
        return "choice"
    if value is None:
        state = "null" if "answer_type" in row else "missing"
        raise ValueError(
            f"answer_type is {state}; rows without choices need one of {', '.join(ANSWER_TYPES)}"
        )
    for answer_type in ANSWER_TYPES:
        if value == answer_type:
            return answer_type
    near = difflib.get_close_matches(str(value), ANSWER_TYPES, 1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    raise ValueError(f"answer_type is {quote(value)}; it must be one of {', '.join(ANSWER_TYPES)}{meant}")


def read_choices(row: Row) -> tuple[str, ...]:
    """The choices in order, numbers as text; empty when there are none."""
    value = row.get("choices")
    if value is None:
        return ()
    value = listed(value)
    if not isinstance(value, list):
        raise ValueError(f'choices is {quote(value)}; it must be a list of texts, in CSV as ["x", "y"]')
    return written_each(value, "choice")


def read_precision(row: Row) -> int | None:
    """Decimal places; a whole number such as 2.0 is accepted."""
    value = row.get("precision")
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch(r"[0-9]+(\.0*)?", value.strip()):  # CSV has texts only
        value = float(value)
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and value >= 0
        and float(value).is_integer()
    ):
        return int(value)
    raise ValueError(f"precision is {quote(value)}; it must be a whole number of decimal places, 0 or more")


def read_unit(row: Row) -> str | None:
    return read_text(row, "unit") if row.get("unit") not in (None, "") else None


def read_source(row: Row) -> str:
    """The source, or "" where the row names none."""
    return read_text(row, "source") if row.get("source") not in (None, "") else ""


def read_images(row: Row) -> tuple[ImageSource, ...]:
    """The images under `images` (several) or `image` (one), as paths or as the bytes of a file."""
    given = [listed(row[key]) for key in ("images", "image") if row.get(key) not in (None, [])]
    if len(given) > 1:
        raise ValueError("images and image are both given; keep one of them")
    if not given:
        return ()
    values = given[0] if isinstance(given[0], list) else given
    return tuple(image_source(value, position) for position, value in enumerate(values, start=1))


def image_source(value: object, position: int) -> ImageSource:
    match value:
        case bytes() as data:
            return ImageSource(data=data)
        case {"bytes": bytes() as data}:
            return ImageSource(data=data)
        case str() as path if path.strip() and "\0" not in path:
            return ImageSource(path=reachable(path, f"image {position}"))
        case {"path": str() as path} if path.strip() and "\0" not in path:
            return ImageSource(path=reachable(path, f"image {position}"))
    raise ValueError(f"image {position} is {quote(value)}; it must be a path or the bytes of an image file")


def read_text(row: Row, key: str) -> str:
    value = row.get(key)
    if value is None:
        raise ValueError(f"{key} is {'null' if key in row else 'missing'}")
    if not isinstance(value, str):
        raise ValueError(f"{key} is {quote(value)}; it must be text")
    if not value.strip():
        raise ValueError(f"{key} is empty")
    return whole(value, key)


READERS: dict[str, Callable[[Row], Any]] = {
    "id": read_id,
    "question": read_question,
    "images": read_images,
    "choices": read_choices,
    "answers": read_answers,
    "answer_type": read_answer_type,
    "precision": read_precision,
    "unit": read_unit,
    "source": read_source,
    "image_places": lambda row: row.get(PLACES, ()),
}

OWN_ROWS = Format(
    name="mstar",
    known=frozenset(READERS) - {"image_places"} | {"answer", "image"},
    label=read_label,
    convert=lambda row: row,
    label_columns=("id", "source"),
    required=(("id",), ("question",), ("answer_type", "choices")),
    image_columns=frozenset({"image", "images"}),
)
