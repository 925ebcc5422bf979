"""Who of several ranks learns which rows of a batch, so that none waits for another.

Ranks pass through the model together: each takes part in as many forward and backward passes as the others,
and, as parts of the model may be spread over all of them, through the same parts. So whoever runs out of rows
goes on with a filler from which nothing is learned; and in a lesson with images every pass has one.
"""

from collections.abc import Sequence

from mstar.trainers.ahead import AT_ONCE
from mstar.trainers.rows import IGNORED, LessonRows, Row


def deal(lengths: Sequence[int], ranks: int) -> list[list[int]]:
    """Indices of each rank's rows, about as many tokens for each: the longest first, back and forth."""
    hands: list[list[int]] = [[] for _ in range(ranks)]
    for place, index in enumerate(sorted(range(len(lengths)), key=lambda index: -lengths[index])):
        turn, seat = divmod(place, ranks)
        hands[seat if turn % 2 == 0 else ranks - 1 - seat].append(index)
    return hands


def find_filler(rows: LessonRows) -> Row:
    """A short prompt with nothing to learn; one with an image if the lesson has any."""
    numbers = sorted(set(rows.numbers))
    for start in range(0, len(numbers), AT_ONCE):
        asked = [request for request in rows.ask(numbers[start : start + AT_ONCE]) if request.images]
        if asked:
            break
    else:
        asked = rows.ask(numbers[:AT_ONCE])
    prompts = zip(asked, rows.encoder.encode(asked), strict=True)
    request, prompt = min(prompts, key=lambda pair: len(pair[1].ids))
    return Row(request, prompt, [IGNORED] * len(prompt.ids), 0)


def with_fillers(groups: Sequence[Sequence[Row]], filler: Row, count: int) -> list[list[Row]]:
    """The rows of `count` micro-batches; each has an image where `filler` has one."""
    padded = [*map(list, groups), *([] for _ in range(count - len(groups)))]
    return [
        [*group, filler]
        if not group or (has_image(filler) and not any(has_image(row) for row in group))
        else group
        for group in padded
    ]


def has_image(row: Row) -> bool:
    return bool(row.encoded.shapes)
