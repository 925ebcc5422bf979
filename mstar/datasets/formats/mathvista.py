"""MathVista's rows (arXiv 2310.02255), of its annotation JSON or its Parquet files, become rows of ours.

The answer of a multiple-choice question is the content of the right choice; here it becomes the letter,
because a content may itself be a letter. Whole numbers come as answer_type "integer", others as "float" with
`precision` decimal places. The answers of its test split are not public; they are empty there, and those rows
are unlabelled.
"""

from mstar.datasets.formats.choices import LETTERS, embedded
from mstar.datasets.rows import Format, Row, read_id

ANSWER_TYPES = {"integer": "number", "float": "number", "list": "list", "text": "text"}


def read_label(row: Row, source: str) -> tuple[str, str]:
    return read_id({"id": row.get("pid")}), source_of(row) or source


def source_of(row: Row) -> str:
    """The data set that a problem was taken from, such as Geometry3K; "" where the row does not say."""
    match row.get("metadata"):
        case {"source": str() as source}:
            return source
    return ""


def convert(row: Row) -> Row:
    """A row of MathVista in mstar's own keys."""
    same = {key: row[key] for key in ("question", "choices", "precision", "unit") if key in row}
    return same | {
        "id": row.get("pid"),
        "answer": gold(row),
        "image": embedded(row.get("decoded_image")) or row.get("image"),
        "answer_type": answer_type(row),
        "source": source_of(row),
    }


def gold(row: Row) -> object:
    """The gold answer: of a multiple-choice question the letter, if the content is among the choices."""
    content, choices = row.get("answer") or None, row.get("choices")
    if is_choice(row) and isinstance(choices, list) and content in choices[: len(LETTERS)]:
        return LETTERS[choices.index(content)]
    return content


def answer_type(row: Row) -> str | None:
    theirs = row.get("answer_type")
    if is_choice(row):
        return "choice"
    if theirs == "text" and str(row.get("answer")).strip().lower() in ("yes", "no"):
        return "boolean"
    return ANSWER_TYPES.get(str(theirs), str(theirs)) if theirs is not None else None


def is_choice(row: Row) -> bool:
    return row.get("question_type") == "multi_choice"


MATHVISTA = Format(
    name="MathVista",
    marks=frozenset({"pid", "question_type"}),
    known=frozenset(
        {
            "pid",
            "question",
            "image",
            "decoded_image",
            "choices",
            "unit",
            "precision",
            "answer",
            "question_type",
        }
        | {"answer_type", "query", "metadata"}
    ),
    required=(("pid",), ("question",), ("answer",), ("question_type",), ("answer_type",)),
    label_columns=("pid", "metadata"),
    image_columns=frozenset({"image", "decoded_image"}),
    label=read_label,
    convert=convert,
)
