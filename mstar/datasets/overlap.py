"""shared_problems: which problems of one file stand in another too, such as a test set's in the training set.

Two problems are the same if their questions are (case, spacing and Unicode's spellings of a character aside)
and their images are, byte for byte and in order. Answers and choices are not looked at. Questions and image
files are compared by the hashes that the index keeps; embedded images are read, but only where the questions
agree.
"""

import hashlib
from collections.abc import Iterator, Mapping

from mstar.content_hashes import file_sha256
from mstar.datasets.problem_file import ProblemFile
from mstar.datasets.rows import BadRow
from mstar.records import ImageSource

Key = tuple[int, tuple[str, ...]]
"""The hash of a question and those of its images."""


def shared_problems(train: ProblemFile, test: ProblemFile) -> list[tuple[str, str]]:
    """(id in train, id in test) of every problem of `test` that stands in `train`, where it first does."""
    common = questions(train) & questions(test)
    rows: dict[Key, int] = {}
    for row, key in sorted(keys(train, common)):
        rows.setdefault(key, row)
    return [(train.ids[rows[key]], test.ids[row]) for row, key in sorted(keys(test, common)) if key in rows]


def questions(file: ProblemFile) -> set[int]:
    return {question for question, _ in file.contents() if question is not None}


def keys(file: ProblemFile, wanted: set[int]) -> Iterator[tuple[int, Key]]:
    """The rows with a wanted question, each with its key; rows whose images cannot be read are left out."""
    embedded: dict[int, int] = {}
    for row, (question, images) in enumerate(file.contents()):
        if question is None or question not in wanted:
            continue
        if images is None:
            embedded[row] = question
            continue
        hashes = [file.image_hashes[image] for image in images]
        found = tuple(one for one in hashes if one is not None)
        if len(found) == len(hashes):
            yield row, (question, found)
    yield from embedded_keys(file, embedded)


def embedded_keys(file: ProblemFile, questions: Mapping[int, int]) -> Iterator[tuple[int, Key]]:
    """The same for the rows of an embedded image: {row: hash of its question}."""
    for row, (_, outcome) in zip(questions, file.scan(questions), strict=True):
        if isinstance(outcome, BadRow):
            continue
        hashes = tuple(one for image in outcome.images if (one := image_sha256(image)) is not None)
        if len(hashes) == len(outcome.images):
            yield row, (questions[row], hashes)


def image_sha256(image: ImageSource) -> str | None:
    if image.path is None:
        return hashlib.sha256(image.data or b"").hexdigest()
    try:
        return file_sha256(image.path)
    except OSError:
        return None
