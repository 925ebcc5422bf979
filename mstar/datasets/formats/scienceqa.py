"""ScienceQA's rows (arXiv 2209.09513), of Parquet files or of its problems.json with <split>/<id>/image.png.

The hint, where there is one, becomes the beginning of the question. The answer is the number of the right
choice, from 0. problems.json holds all splits, and each row says to which it belongs.
"""

from dataclasses import replace

from mstar.datasets.formats.choices import embedded, given, letter_of, with_context
from mstar.datasets.rows import Format, Row, read_id, row_id


def read_label(row: Row, source: str) -> tuple[str, str]:
    return read_id({"id": id_of(row)}), str(given(row.get("subject")) or source)


def id_of(row: Row) -> object:
    """The key in problems.json; rows of tables have none and are known by their place."""
    return row["pid"] if "pid" in row else row_id(row)


def convert(row: Row) -> Row:
    """A row of ScienceQA in mstar's own keys."""
    return {
        "id": id_of(row),
        "question": with_context(row.get("hint"), row.get("question")),
        "image": image_of(row),
        "choices": row.get("choices"),
        "answer": letter_of(row.get("answer")),
        "answer_type": "choice",
        "source": given(row.get("subject")),
    }


def image_of(row: Row) -> object:
    image = row.get("image")
    if isinstance(image, str) and given(image):
        return f"{row['split']}/{row['pid']}/{image}" if {"split", "pid"} <= row.keys() else image
    return embedded(image)


SCIENCEQA = Format(
    name="ScienceQA",
    version=1,
    marks=frozenset({"lecture", "solution", "hint", "choices"}),
    known=frozenset(
        {"pid", "image", "question", "choices", "answer", "hint", "task", "grade", "subject", "topic"}
        | {"category", "skill", "lecture", "solution", "split"}
    ),
    required=(("question",), ("choices",), ("answer",)),
    label_columns=("subject",),
    image_columns=frozenset({"image"}),
    label=read_label,
    convert=convert,
    numbered=True,
)

SCIENCEQA_JSON = replace(
    SCIENCEQA, name="ScienceQA problems.json", marks=frozenset({"pid", "lecture", "split"}), split_key="split"
)
