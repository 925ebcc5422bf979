"""What published multiple-choice sets share: letters, numbers of answers, contents in a text, missing values.

Golds become letters, because a content may itself be a letter. pandas writes what is missing as NaN or the
text "nan".
"""

import math
import re
from collections.abc import Sequence

from mstar.datasets.rows import Row

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def given(value: object) -> object:
    """The value; None for what stands for a missing one."""
    if isinstance(value, float) and math.isnan(value):
        return None
    return None if isinstance(value, str) and value.strip().lower() in ("", "nan", "none") else value


def letter_of(position: object) -> object:
    """The letter of a choice that is counted from 0, as a number or as digits; anything else as it is."""
    if isinstance(position, str) and position.strip().isdecimal():
        position = int(position)
    if isinstance(position, int) and not isinstance(position, bool) and 0 <= position < len(LETTERS):
        return LETTERS[position]
    return given(position)


def lettered(row: Row) -> list[object]:
    """The contents in the columns A, B, C, ..., up to the first that is missing."""
    contents: list[object] = []
    for letter in LETTERS:
        content = row.get(letter)
        if content is None or given(content) is None:
            return contents
        contents.append(content)
    return contents


def with_context(context: object, question: object) -> object:
    """The question after what belongs to it, such as a hint or a passage."""
    before = given(context)
    if isinstance(before, str) and isinstance(question, str):
        return f"{before.strip()}\n{question}"
    return question


def contents_in(text: str, marks: str) -> tuple[str, ...]:
    """The contents of choices in a text; `marks` is a pattern for what stands before one, with {} for its
    letter. Empty where there are not two of them from A on.
    """
    contents: list[str] = []
    for letter in LETTERS:
        mark = re.search(marks.format(letter), text)
        if letter != "A":
            contents.append((text[: mark.start()] if mark else text).strip())
        if mark is None:
            break
        text = text[mark.end() :]
    return tuple(contents) if len(contents) > 1 and all(contents) else ()


def embedded(image: object) -> object:
    """The bytes of an image column, or None where it holds none."""
    match image:
        case bytes() as data:
            return data
        case {"bytes": bytes() as data}:
            return data
    return None


def without_commas(contents: Sequence[str]) -> list[str]:
    """Contents without the comma or semicolon that divided them from the next."""
    return [content.rstrip().rstrip(",;").rstrip() for content in contents]
