"""A lesson as rows: what the model reads, and what it is to learn at each position.

`LessonRows` reads the texts and the problems that a lesson names, `read_ahead` each batch before it is
needed; `cut_micro_batches` pads rows into what one forward takes. Rows with other labels (a score at the end
of each step, say) go the same way.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow.parquet as pq
import torch
from torch import Tensor

from mstar.config import Train
from mstar.datasets import open_problems
from mstar.errors import UserError
from mstar.models import Encoded, Encoder, collate
from mstar.prompts import build_request
from mstar.records import Problem
from mstar.trainers import Lesson
from mstar.trainers.batches import plan_micro_batches

IGNORED = -100
"""Label of the positions where nothing is learned, as in torch's cross_entropy."""
HELD_BYTES = 1 << 30
"""Images that are kept in memory during a lesson, as they are in the file, and once more as patches."""
AT_ONCE = 64
"""Problems that are read together."""
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence to learn from."""

    encoded: Encoded
    labels: Sequence[float]
    """What is learned at each token's position, or IGNORED; all whole numbers where they are tokens."""
    learned: int
    """Positions that have a label."""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """What goes through the model at once, padded; on the CPU."""

    inputs: dict[str, Tensor]
    labels: Tensor
    """(rows, length), IGNORED in the padding."""
    padded_tokens: int
    total_tokens: int


class LessonRows:
    """The responses of a lesson as rows.

    Problems are read once, in the order in which that is fastest, and their images become patches once, as
    far as `HELD_BYTES` allow; the others are read when they are needed.
    """

    def __init__(self, lesson: Lesson, encoder: Encoder) -> None:
        self.encoder = encoder
        self.numbers = lesson.rows
        self.texts = read_texts(lesson)
        self.file = open_problems(lesson.problems)
        self.problems = dict(self._problems_in_order())
        self.prompts: dict[int, Encoded] = {}
        self.room = HELD_BYTES

    def read(self, batch: Sequence[int]) -> list[Row]:
        """The rows of some responses."""
        numbers = [self.numbers[index] for index in batch]
        prompts = self._read_prompts(set(numbers))
        responses = [self.encoder.encode_response(self.texts[index]) for index in batch]
        return [
            learn_response(prompts[number], response)
            for number, response in zip(numbers, responses, strict=True)
        ]

    def _problems_in_order(self) -> Iterator[tuple[int, Problem]]:
        numbers, size = sorted(set(self.numbers)), 0
        for start in range(0, len(numbers), AT_ONCE):
            some = numbers[start : start + AT_ONCE]
            problems = self.file.read(some)
            size += sum(len(image.data or b"") for problem in problems for image in problem.images)
            if size > HELD_BYTES:
                return
            yield from zip(some, problems, strict=True)

    def _read_prompts(self, numbers: set[int]) -> dict[int, Encoded]:
        missing = sorted(numbers - self.prompts.keys())
        if not missing:
            return self.prompts
        problems = self._read_problems(missing)
        requests = [build_request(problems[number], self.encoder.prompt) for number in missing]
        encoded = dict(zip(missing, self.encoder.encode(requests), strict=True))
        size = sum(patches.nbytes for prompt in encoded.values() for patches in prompt.pixels)
        if size <= self.room:
            self.room -= size
            self.prompts |= encoded
        return self.prompts | encoded

    def _read_problems(self, numbers: Sequence[int]) -> dict[int, Problem]:
        unread = [number for number in numbers if number not in self.problems]
        read = dict(zip(unread, self.file.read(unread), strict=True)) if unread else {}
        return self.problems | read


def read_ahead(rows: LessonRows, batches: Sequence[Sequence[int]]) -> Iterator[list[Row]]:
    """The rows of each batch; while one is learned, the next is read in a thread: images take their time, in
    which a GPU would wait.
    """
    with ThreadPoolExecutor(1) as reader:
        waiting: list[Future[list[Row]]] = []
        for batch in batches:
            waiting.append(reader.submit(rows.read, batch))
            if len(waiting) > 1:
                yield waiting.pop(0).result()
        for last in waiting:
            yield last.result()


def read_texts(lesson: Lesson) -> list[str]:
    """The responses of a lesson; UserError where their number is not the one that the lesson was made for."""
    texts = [
        text for file in lesson.selected for text in pq.read_table(file, columns=["text"])["text"].to_pylist()
    ]
    if len(texts) != len(lesson.rows):
        raise UserError(
            f"{', '.join(map(str, lesson.selected))} hold {len(texts)} responses, the lesson was made for "
            f"{len(lesson.rows)}; start the train stage again"
        )
    return texts


def learn_response(prompt: Encoded, response: list[int]) -> Row:
    """A prompt and the response to learn: each position's label is the next token, if that is the
    response's.
    """
    labels = [IGNORED] * (len(prompt.ids) - 1) + response + [IGNORED]
    return Row(prompt.followed_by(response), labels, len(response))


def cut_micro_batches(rows: Sequence[Row], encoder: Encoder, config: Train) -> Iterator[MicroBatch]:
    """The rows of one batch, padded as they are needed."""
    for group in plan_micro_batches([len(row.encoded.ids) for row in rows], config):
        yield pad_rows([rows[index] for index in group], encoder)


def pad_rows(rows: Sequence[Row], encoder: Encoder) -> MicroBatch:
    inputs = collate([row.encoded for row in rows], encoder, "right", CPU)
    length = max(len(row.labels) for row in rows)
    labels = torch.tensor([[*row.labels, *[IGNORED] * (length - len(row.labels))] for row in rows])
    padded = labels.numel() - sum(len(row.labels) for row in rows)
    return MicroBatch(inputs, labels, padded, labels.numel())
