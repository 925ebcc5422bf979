"""M3CoT's rows (arXiv 2405.16473), of its Parquet files or of its JSONL with images/<id>.png beside it.

The context, where there is one, becomes the beginning of the question. The answer is a letter.
"""

from mstar.datasets.formats.choices import embedded, given, with_context
from mstar.datasets.rows import Format, Row, read_id


def read_label(row: Row, source: str) -> tuple[str, str]:
    return read_id(row), str(given(row.get("domain")) or source)


def convert(row: Row) -> Row:
    """A row of M3CoT in mstar's own keys."""
    return {
        "id": row.get("id"),
        "question": with_context(row.get("context"), row.get("question")),
        "image": image_of(row),
        "choices": row.get("choices"),
        "answer": given(row.get("answer")),
        "answer_type": "choice",
        "source": given(row.get("domain")),
    }


def image_of(row: Row) -> object:
    """The bytes of the image, or where the file of a row in JSON is; a problem may have none."""
    image = row.get("image")
    if isinstance(image, str) or (image is None and "image" not in row):
        return row.get("image_path") or f"images/{row.get('id')}.png"
    return embedded(image) or row.get("image_path")


M3COT = Format(
    name="M3CoT",
    version=1,
    marks=frozenset({"id", "image_id", "rationale", "choices"}),
    known=frozenset(
        {"id", "category", "image_id", "question", "choices", "context", "answer", "rationale", "split"}
        | {"image", "image_path", "domain", "topic"}
    ),
    required=(("id",), ("question",), ("choices",), ("answer",)),
    label_columns=("id", "domain"),
    image_columns=frozenset({"image"}),
    label=read_label,
    convert=convert,
)
