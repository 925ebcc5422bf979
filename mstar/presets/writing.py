"""A problem file in mstar's own keys, with its images in a folder beside it.

Rows are text and every image is one file under the hash of its bytes, however many problems share it. A file
has its name only when it is whole.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from mstar.datasets.placeholders import PLACEHOLDER
from mstar.presets.pictures import Kept
from mstar.records import Problem

IMAGES = "images"
"""The folder of the images, beside the files."""


class ProblemWriter:
    """Writes one file; ids that come again get a number."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._uses: dict[str, int] = {}
        self.problems = 0
        self.renamed = 0
        """Ids that came again."""
        self.placed = 0
        """Questions with images in their midst."""

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def add(self, problem: Problem, images: Sequence[Kept]) -> str:
        """Write a problem; its id in the file."""
        uses = self._uses[problem.id] = self._uses.get(problem.id, 0) + 1
        id = problem.id if uses == 1 else f"{problem.id}#{uses}"
        while uses > 1 and id in self._uses:
            id += "'"
        self._uses.setdefault(id, 1)
        line = json.dumps(row_of(problem, id, images), ensure_ascii=False).encode() + b"\n"
        self._file.write(line)
        self._sha256.update(line)
        self.problems += 1
        self.renamed += uses > 1
        self.placed += any(problem.image_places)
        return id


@contextmanager
def writing_problems(path: Path) -> Iterator[ProblemWriter]:
    """A writer of a problem file; see `writing`."""
    with writing(path) as file:
        yield ProblemWriter(file)


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file that appears when the block ends well."""
    scratch = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        with scratch.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    finally:
        with suppress(FileNotFoundError):
            scratch.unlink()


def row_of(problem: Problem, id: str, images: Sequence[Kept]) -> dict[str, object]:
    """A problem as a row that is read again as the same problem."""
    names = [f"{IMAGES}/{image.name}" for image in images]
    answers = [problem.answer, *problem.other_answers]
    facts: dict[str, object] = {
        "id": id,
        "question": with_places(problem),
        "image": names[0] if len(names) == 1 else None,
        "images": names if len(names) > 1 else None,
        "answers": answers if len(answers) > 1 else None,
        "answer_type": problem.answer_type,
        "choices": list(problem.choices) or None,
        "precision": problem.precision,
        "unit": problem.unit,
        "source": problem.source or None,
    }
    row = {key: value for key, value in facts.items() if value is not None}
    return row if "answers" in row else row | {"answer": problem.answer}


def with_places(problem: Problem) -> str:
    """The question with `<image>` where its images are, unless they all come first, as they do without."""
    if not any(problem.image_places):
        return problem.question
    starts = (0, *problem.image_places)
    ends = (*problem.image_places, len(problem.question))
    return PLACEHOLDER.join(problem.question[start:end] for start, end in zip(starts, ends, strict=True))
