"""MMStar's rows (arXiv 2403.20330), of its Parquet file; its TSV is read by mmbench.py.

The choices stand in the question, as "Options: A: ..., B: ...". The answer is a letter.
"""

import re

from mstar.datasets.formats.choices import contents_in, embedded, given, without_commas
from mstar.datasets.rows import Format, Row, read_id

HEADING = re.compile(r"\s*\bOptions:\s*(?=\(?A[:.)])", re.IGNORECASE)
MARKS = r"(?<![A-Za-z])\(?{}[:.)]\s"


def read_label(row: Row, source: str) -> tuple[str, str]:
    return read_id({"id": row.get("index")}), str(given(row.get("category")) or source)


def convert(row: Row) -> Row:
    """A row of MMStar in mstar's own keys."""
    question, choices = split_options(row.get("question"))
    return {
        "id": row.get("index"),
        "question": question,
        "image": embedded(row.get("image")),
        "choices": choices,
        "answer": given(row.get("answer")),
        "answer_type": "choice",
        "source": given(row.get("category")),
    }


def split_options(question: object) -> tuple[object, list[str]]:
    """The question without its choices, and their contents."""
    headings = list(HEADING.finditer(question)) if isinstance(question, str) else []
    if not headings or not isinstance(question, str):
        return question, []
    contents = contents_in(question[headings[-1].end() :], MARKS)
    return (question[: headings[-1].start()], without_commas(contents)) if contents else (question, [])


MMSTAR = Format(
    name="MMStar",
    version=1,
    marks=frozenset({"index", "l2_category", "meta_info"}),
    known=frozenset(
        {"index", "id", "question", "image", "answer", "category", "l2_category", "meta_info", "bench"}
    ),
    required=(("index",), ("question",), ("answer",)),
    label_columns=("index", "category"),
    image_columns=frozenset({"image"}),
    label=read_label,
    convert=convert,
)
