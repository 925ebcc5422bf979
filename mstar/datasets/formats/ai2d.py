"""AI2D's rows (arXiv 1603.07396), of Parquet files with options, or of its own folder of questions.

The answer is the number of the right choice, from 0. Parquet rows have no ids and are known by their place.
In the folder every image has a file with its questions; where these speak of letters that were painted over
the labels of the diagram, the image with the letters is taken.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

from mstar.datasets.formats.choices import embedded, letter_of
from mstar.datasets.rows import Format, Row, row_id

QUESTIONS, IMAGES, LETTERED_IMAGES = "questions", "images", "abc_images"


def read_label(row: Row, source: str) -> tuple[str, str]:
    return row_id(row), source


def convert(row: Row) -> Row:
    """A row of AI2D in mstar's own keys."""
    return {
        "id": row_id(row),
        "question": row.get("question"),
        "image": embedded(row.get("image")) or row.get("image"),
        "choices": row.get("options"),
        "answer": letter_of(row.get("answer")),
        "answer_type": "choice",
    }


def questions_about(document: Row, name: str) -> Iterator[Row]:
    """The rows of one file of the folder `questions`, in mstar's own keys; `name` is that of the file."""
    image = str(document.get("imageName") or PurePosixPath(name).stem)
    questions = document.get("questions")
    for text, found in (questions if isinstance(questions, dict) else {}).items():
        folder = LETTERED_IMAGES if found.get("abcLabel") else IMAGES
        yield {
            "id": found.get("questionId"),
            "question": text,
            "image": f"{folder}/{image}",
            "choices": found.get("answerTexts"),
            "answer": letter_of(found.get("correctAnswer")),
            "answer_type": "choice",
        }


AI2D = Format(
    name="AI2D",
    version=1,
    marks=frozenset({"question", "options", "answer", "image"}),
    known=frozenset({"question", "options", "answer", "image"}),
    required=(("question",), ("options",), ("answer",)),
    image_columns=frozenset({"image"}),
    label=read_label,
    convert=convert,
    numbered=True,
)
