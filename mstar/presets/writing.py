"""A problem file in mstar's own keys, with its images in a folder beside it.

Rows are text and every image is one file under the hash of its bytes, however many problems share it. A file
has its name only when it is whole.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mstar.addresses import is_address, joined
from mstar.datasets.placeholders import PLACEHOLDER
from mstar.presets.pictures import IMAGES, Kept
from mstar.records import Problem
from mstar.storage import Storage, build_storage
from mstar.storage.folder import SCRATCH


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
def open_output(output: str) -> Iterator[Storage]:
    """The folder, or the address in a bucket, where files go; what killed processes left there is deleted."""
    storage = build_storage(output)
    with storage.scratch():
        pass
    yield storage
    if not is_address(output):
        with suppress(OSError):  # others may be writing there
            Path(output, SCRATCH).rmdir()


def place_of(output: str, name: str) -> str:
    """Where a file of an output lies."""
    return joined(output, name) if is_address(output) else str(Path(output, name))


@contextmanager
def writing_problems(storage: Storage, name: str) -> Iterator[ProblemWriter]:
    """A writer of a problem file; see `writing`."""
    with writing(storage, name) as file:
        yield ProblemWriter(file)


@contextmanager
def writing(storage: Storage, name: str) -> Iterator[BinaryIO]:
    """A file that appears when the block ends well, in place of an earlier one."""
    with storage.scratch() as path:
        with path.open("wb") as file:
            yield file
        storage.publish(path, name, replace=True)


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
