"""MMBench's rows (arXiv 2307.06281), and those of every TSV or table with the choices in columns A, B, C, ...

So are MMStar.tsv and AI2D_TEST.tsv, which VLMEvalKit publishes in the same form. Images are bytes, or Base64
text. The hint, where there is one, becomes the beginning of the question; the answers of the test split are
not public, and those rows are unlabelled.
"""

import base64
import binascii

from mstar.datasets.formats.choices import embedded, given, letter_of, lettered, with_context
from mstar.datasets.rows import Format, Row, read_id

CATEGORIES = ("l2-category", "L2-category", "l2_category", "category")


def read_label(row: Row, source: str) -> tuple[str, str]:
    return read_id({"id": row.get("index")}), str(category_of(row) or source)


def category_of(row: Row) -> object:
    """The broad category where there is one, such as logic_reasoning."""
    return next((value for name in CATEGORIES if (value := given(row.get(name)))), None)


def convert(row: Row) -> Row:
    """A row with lettered choices in mstar's own keys."""
    contents = lettered(row)
    return {
        "id": row.get("index"),
        "question": with_context(row.get("hint"), row.get("question")),
        "image": image_of(row.get("image")),
        "choices": contents,
        "answer": letter_of(row.get("answer")),
        "answer_type": "choice",
        "source": category_of(row),
    }


def image_of(image: object) -> object:
    """The bytes of an image; text that is no Base64 stays, for a path."""
    if not isinstance(image, str):
        return embedded(image)
    try:
        return base64.b64decode(image, validate=True) if len(image) > 64 else given(image)
    except (binascii.Error, ValueError):
        return image


LETTERED = Format(
    name="lettered choices",
    version=1,
    marks=frozenset({"index", "question", "A", "B"}),
    known=frozenset(
        {"index", "question", "hint", "answer", "image", "image_path", "source", "comment", "split", "bench"}
        | {*"ABCDEFGHIJ", *CATEGORIES}
    ),
    required=(("index",), ("question",), ("A",), ("B",)),
    label_columns=("index", *CATEGORIES),
    image_columns=frozenset({"image"}),
    label=read_label,
    convert=convert,
)
