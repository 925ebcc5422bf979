"""A lesson as rows: what the model reads, and what it is to learn at each position.

`LessonRows` reads the texts and the problems that a lesson names; `cut_micro_batches` pads or packs rows into
what one forward takes. Rows with other labels (a score at the end of each step, say) go the same way.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

from mstar.config_train import Train
from mstar.datasets import open_problems
from mstar.errors import UserError
from mstar.models import Encoded, Encoder, collate, pack
from mstar.models.encoder import decode_in_groups
from mstar.prompts import Request, build_request
from mstar.trainers import Lesson
from mstar.trainers.ahead import AT_ONCE, ProblemsAhead
from mstar.trainers.batches import plan_micro_batches, plan_packs

IGNORED = -100
"""Label of the positions where nothing is learned, as in torch's cross_entropy."""
HELD_BYTES = 1 << 30
"""Prompts that are kept in memory during a lesson, with their pixels."""
PROMPT_BYTES = 1 << 12
"""What a prompt takes besides its tokens, their positions, its pixels and the images that its row embeds."""
CPU = torch.device("cpu")
Prompt = tuple[Request, Encoded]


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence to learn from."""

    request: Request
    """The prompt, and whose images these are."""
    encoded: Encoded
    """Without pixels where there was no room for them: they are made when the row is padded."""
    labels: Sequence[float]
    """What is learned at each token's position, or IGNORED; all whole numbers where they are tokens."""
    learned: int
    """Positions that have a label."""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """What goes through the model at once, padded or packed; on the CPU."""

    inputs: dict[str, Tensor]
    labels: Tensor
    """(rows, length), IGNORED in the padding; one row where they are packed."""
    padded_tokens: int
    total_tokens: int


class LessonRows:
    """The responses of a lesson as rows.

    Prompts are encoded when they are first needed and kept as far as they fit into `HELD_BYTES`; the others
    are encoded whenever they are needed, and their pixels for one micro-batch at a time. Where the batches to
    come are known, problems are read ahead in the order in which that is fastest.
    """

    def __init__(self, lesson: Lesson, encoder: Encoder) -> None:
        self.encoder = encoder
        self.problems = ProblemsAhead(open_problems(lesson.problems, lesson.reading))
        self.numbers = lesson.rows
        self.texts = read_texts(lesson)
        self.held: dict[int, Prompt] = {}
        self.room = HELD_BYTES

    def read_in_turn(self, batches: Sequence[Sequence[int]], at_once: int = 1) -> Iterator[list[Row]]:
        """The rows of one batch after the other; `at_once` says how many rows are read together, where
        batches are smaller.
        """
        done = 0
        while done < len(batches):
            window = done + self.problems.fill(map(self._not_held, batches[done:]))
            for some in together(batches[done:window], at_once):
                rows = iter(self.read([index for batch in some for index in batch]))
                yield from ([next(rows) for _ in batch] for batch in some)
            done = window

    def read(self, batch: Sequence[int]) -> list[Row]:
        """The rows of some responses."""
        numbers = [self.numbers[index] for index in batch]
        needed = self._encode(sorted(self._not_held(batch)))
        prompts = [needed.get(number) or self.held[number] for number in numbers]
        responses = self.encoder.encode_responses([self.texts[index] for index in batch])
        return [
            learn_response(*prompt, response) for prompt, response in zip(prompts, responses, strict=True)
        ]

    def ask(self, numbers: Sequence[int]) -> list[Request]:
        """The requests of problems, by their numbers in the file."""
        return [build_request(problem, self.encoder.prompt) for problem in self.problems.read(numbers)]

    def _not_held(self, batch: Sequence[int]) -> set[int]:
        """The numbers of the problems of some responses, without those whose prompts are kept."""
        return {number for index in batch if (number := self.numbers[index]) not in self.held}

    def _encode(self, numbers: Sequence[int]) -> dict[int, Prompt]:
        """Prompts that are not kept so far; without pixels once there is no room."""
        prompts: dict[int, Prompt] = {}
        for start in range(0, len(numbers), AT_ONCE):
            own = numbers[start : start + AT_ONCE]
            requests = self.ask(own)
            encoded = self.encoder.encode(requests) if self.room > 0 else self._plan(requests)
            some = dict(zip(own, zip(requests, encoded, strict=True), strict=True))
            prompts |= some
            if self.room > 0:
                self.room -= sum(held_bytes(*prompt) for prompt in some.values())
            if self.room > 0:
                self.held |= some
        return prompts

    def _plan(self, requests: Sequence[Request]) -> list[Encoded]:
        planned: list[Encoded] = []
        for group, images in decode_in_groups(requests, self.encoder.decode_images):
            planned += self.encoder.plan(group, images)
        return planned


def together(batches: Sequence[Sequence[int]], at_once: int) -> Iterator[Sequence[Sequence[int]]]:
    """Batches in groups of at most so many responses; one that is larger than that is a group of its own."""
    some: list[Sequence[int]] = []
    for batch in batches:
        if some and sum(map(len, some)) + len(batch) > at_once:
            yield some
            some = []
        some.append(batch)
    if some:
        yield some


def held_bytes(request: Request, prompt: Encoded) -> int:
    """What a prompt takes in memory, about."""
    images = sum(len(image.data or b"") for image in request.images)
    tensors = prompt.positions.nbytes + sum(pixels.nbytes for pixels in prompt.pixels)
    return PROMPT_BYTES + 8 * len(prompt.ids) + tensors + images


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


def learn_response(request: Request, prompt: Encoded, response: list[int]) -> Row:
    """A prompt and the response to learn: each position's label is the next token, if that is the
    response's.
    """
    labels = [IGNORED] * (len(prompt.ids) - 1) + response + [IGNORED]
    return Row(request, prompt.followed_by(response), labels, len(response))


def cut_micro_batches(rows: Sequence[Row], encoder: Encoder, config: Train) -> Iterator[MicroBatch]:
    """The rows of one batch, padded or packed, with their pixels as they are needed."""
    for group in group_rows(rows, config):
        yield build_micro_batch(group, encoder, config)


def group_rows(rows: Sequence[Row], config: Train) -> list[list[Row]]:
    """The rows of each micro-batch."""
    plan = plan_packs if config.packing else plan_micro_batches
    return [
        [rows[index] for index in group] for group in plan([len(row.encoded.ids) for row in rows], config)
    ]


def build_micro_batch(rows: Sequence[Row], encoder: Encoder, config: Train) -> MicroBatch:
    return pack_rows(rows, encoder) if config.packing else pad_rows(rows, encoder)


def pad_rows(rows: Sequence[Row], encoder: Encoder) -> MicroBatch:
    """Rows as the model takes them, with their pixels."""
    inputs = collate(read_rows(rows, encoder), encoder, "right", CPU)
    length = max(len(row.labels) for row in rows)
    labels = as_tensor([[*row.labels, *[IGNORED] * (length - len(row.labels))] for row in rows])
    padded = labels.numel() - sum(len(row.labels) for row in rows)
    return MicroBatch(inputs, labels, padded, labels.numel())


def pack_rows(rows: Sequence[Row], encoder: Encoder) -> MicroBatch:
    """Rows end to end as one, with their pixels. The last label of each is IGNORED: it learns nothing of the
    next one's beginning.
    """
    labels = as_tensor([[label for row in rows for label in row.labels]])
    return MicroBatch(pack(read_rows(rows, encoder), encoder, CPU), labels, 0, labels.numel())


def as_tensor(labels: Sequence[Sequence[float]]) -> Tensor:
    """What `torch.tensor` makes of them, in a quarter of its time."""
    found = np.array(labels)
    return torch.from_numpy(found if found.dtype == np.int64 else found.astype(np.float32))


def read_rows(rows: Sequence[Row], encoder: Encoder) -> list[Encoded]:
    """What the rows encode, with the pixels that were not there yet."""
    missing = [row for row in rows if not row.encoded.is_whole]
    images = [encoder.decode_images(row.request) for row in missing]
    read = iter(encoder.read_pixels([row.encoded for row in missing], images))
    return [row.encoded if row.encoded.is_whole else next(read) for row in rows]
