"""A lesson as rows: what the model reads, and what it is to learn at each position.

`LessonRows` reads the texts and the problems that a lesson names; `cut_micro_batches` pads rows into what one
forward takes. Rows with other labels (a score at the end of each step, say) go the same way.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from mstar.config import Train
from mstar.datasets import open_problems
from mstar.errors import UserError
from mstar.models import Encoded, Encoder, collate
from mstar.models.encoder import decode_in_groups
from mstar.prompts import Request, build_request
from mstar.records import Problem
from mstar.trainers import Lesson
from mstar.trainers.batches import plan_micro_batches

IGNORED = -100
"""Label of the positions where nothing is learned, as in torch's cross_entropy."""
HELD_BYTES = 1 << 30
"""Images, as their files hold them, that are kept in memory during a lesson."""
AT_ONCE = 64
"""Problems that are read together."""
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence to learn from; its pixels, which take much memory, are made when it is padded."""

    request: Request
    """The prompt, and whose images these are."""
    encoded: Encoded
    """Without pixels."""
    labels: Sequence[float]
    """What is learned at each token's position, or IGNORED; all whole numbers where they are tokens."""
    learned: int
    """Positions that have a label."""
    images: Sequence[Image.Image] = ()
    """Decoded already, as far as there was room."""


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

    Problems are read once, in the order in which that is fastest, as far as their images fit into
    `HELD_BYTES`; the others when they are needed.
    """

    def __init__(self, lesson: Lesson, encoder: Encoder) -> None:
        self.encoder = encoder
        self.problems = open_problems(lesson.problems)
        self.numbers = lesson.rows
        self.texts = read_texts(lesson)
        self.held: dict[int, Problem] = {}
        numbers, size = sorted(set(lesson.rows)), 0
        for start in range(0, len(numbers), AT_ONCE):
            problems = self._read(numbers[start : start + AT_ONCE])
            size += sum(len(image.data or b"") for problem in problems.values() for image in problem.images)
            if size > HELD_BYTES:
                break
            self.held.update(problems)

    def read(self, batch: Sequence[int]) -> list[Row]:
        """The rows of some responses."""
        numbers = [self.numbers[index] for index in batch]
        asked = sorted(set(numbers))
        problems = {**self.held, **self._read([number for number in asked if number not in self.held])}
        requests = [build_request(problems[number], self.encoder.prompt) for number in asked]
        prompts: list[Encoded] = []
        images: list[Sequence[Image.Image]] = []
        for group, decoded in decode_in_groups(requests, self.encoder.decode_images):
            prompts += self.encoder.plan(group, decoded)
            images += [()] * len(group) if images else decoded
        found = dict(zip(asked, zip(requests, prompts, images, strict=True), strict=True))
        responses = self.encoder.encode_responses([self.texts[index] for index in batch])
        return [
            learn_response(*found[number], response)
            for number, response in zip(numbers, responses, strict=True)
        ]

    def _read(self, numbers: Sequence[int]) -> dict[int, Problem]:
        return dict(zip(numbers, self.problems.read(numbers), strict=True))


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


def learn_response(
    request: Request, prompt: Encoded, images: Sequence[Image.Image], response: list[int]
) -> Row:
    """A prompt and the response to learn: each position's label is the next token, if that is the
    response's.
    """
    labels = [IGNORED] * (len(prompt.ids) - 1) + response + [IGNORED]
    return Row(request, prompt.followed_by(response), labels, len(response), images)


def cut_micro_batches(rows: Sequence[Row], encoder: Encoder, config: Train) -> Iterator[MicroBatch]:
    """The rows of one batch, padded with their pixels as they are needed."""
    for group in plan_micro_batches([len(row.encoded.ids) for row in rows], config):
        yield pad_rows([rows[index] for index in group], encoder)


def pad_rows(rows: Sequence[Row], encoder: Encoder) -> MicroBatch:
    """Rows as the model takes them, with their pixels."""
    images = [row.images or encoder.decode_images(row.request) for row in rows]
    whole = encoder.read_pixels([row.encoded for row in rows], images)
    inputs = collate(whole, encoder, "right", CPU)
    length = max(len(row.labels) for row in rows)
    labels = torch.tensor([[*row.labels, *[IGNORED] * (length - len(row.labels))] for row in rows])
    padded = labels.numel() - sum(len(row.labels) for row in rows)
    return MicroBatch(inputs, labels, padded, labels.numel())
