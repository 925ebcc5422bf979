"""Geometry3K's rows (arXiv 2105.04165), of Parquet files with `images` and `problem`, or of its own folder.

Where there are choices the gold is a letter among them, else the value itself: a number or a formula.
`<image>` in a problem marks the place of an image.
"""

from mstar.datasets.formats.choices import given
from mstar.datasets.formats.mathv360k import answer_type
from mstar.datasets.placeholders import places_of
from mstar.datasets.rows import Format, Row, row_id

IMAGE = "img_diagram.png"


def read_label(row: Row, source: str) -> tuple[str, str]:
    return id_of(row), source


def id_of(row: Row) -> str:
    id = row.get("id")
    return row_id(row) if id is None else str(id)


def convert(row: Row) -> Row:
    """A row of the Parquet files in mstar's own keys."""
    problem = {"id": id_of(row), "question": row.get("problem"), "images": row.get("images")}
    return problem | gold_of(row, given(row.get("ground_truth"))) | places_of(row.get("problem"))


def gold_of(row: Row, letter: object) -> dict[str, object]:
    """The letter where there are choices and one is named, else the value."""
    choices, value = row.get("choices"), given(row.get("answer"))
    if letter is not None and choices:
        return {"choices": choices, "answer": letter, "answer_type": "choice"}
    kind = answer_type(value) if isinstance(value, str) else "number"
    return {"answer": value, "answer_type": "expression" if kind == "text" else kind}


def problem_in(document: Row, folder: str) -> Row:
    """What the data.json in a problem's own folder holds, in mstar's own keys."""
    problem = {
        "id": str(document.get("id", folder.rpartition("/")[2])),
        "question": document.get("problem_text"),
        "image": f"{folder}/{IMAGE}",
    }
    return problem | gold_of(document, given(document.get("answer")))


GEOMETRY3K = Format(
    name="Geometry3K",
    version=1,
    marks=frozenset({"images", "problem", "answer"}),
    known=frozenset({"id", "images", "problem", "answer", "choices", "ground_truth"}),
    required=(("problem",), ("answer",)),
    label_columns=("id",),
    image_columns=frozenset({"images"}),
    label=read_label,
    convert=convert,
    numbered=True,
)
