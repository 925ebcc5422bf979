"""The short way to a statement, for the responses that most policies give most of the time.

`plain_statement` knows three forms: a response that is nothing but a number or a letter, one that ends in a
box with such a value, and one whose last line says "Answer: ..." or "the answer is ..." in plain characters
and words that mean nothing to the search in `markers`. What it finds, the search finds too; where it is not
certain of that, it finds nothing. It costs a sixth of the search.
"""

from __future__ import annotations

import re

from mstar.answers.expected import AnswerType
from mstar.answers.markers import DESCRIBES, DISOWNED

_NUMBER = r"[-+]?[0-9]{1,30}(?:\.[0-9]{1,30})?"
_VALUE = rf"(?:\(?([A-Za-z])\)?|({_NUMBER}))"
_BARE_NUMBER = re.compile(_NUMBER)
_BARE_LETTER = re.compile(r"([A-Za-z])|\(([A-Za-z])\)")
_BOXED = re.compile(rf"\\boxed\{{{_VALUE}\}}[$.]{{0,3}}\s*\Z")
_MARKER = r"[Aa]nswer(?:\*{0,2}:\*{0,2}| (is):?(?=\s))[ ]{0,2}"
_ANSWER = re.compile(
    rf"{_MARKER}(?:\*{{0,2}}{_VALUE}\.?\*{{0,2}}|([A-Za-z0-9(+$.-][A-Za-z0-9 .,()%/+$-]{{0,120}}))\s*\Z"
)
_BEFORE = frozenset({"", "\n", ";", "*", " "})
_OTHER_MARKER = re.compile(r"option|choice|correct|ans")
_ADVERBS = ("therefore", "thus", "then", "hence", "simply", "clearly", "just", "also")


def plain_statement(response: str, answer_type: AnswerType | None, choices: tuple[str, ...]) -> str | None:
    """The final answer of a response in one of the three forms; None for any other response."""
    if len(response) <= 32:
        bare = _bare(response.strip(), answer_type, len(choices) or 26)
        if bare is not None:
            return bare
    if "think>" in response:
        return None
    if response.count("\\boxed") == 1:
        boxed = _BOXED.match(response, response.rfind("\\boxed"))
        return boxed[1] or boxed[2] if boxed else None
    position = response.rfind("nswer") - 1
    found = _ANSWER.match(response, position) if position >= 0 else None
    if found is None:
        return None
    before = response[max(position - 40, 0) : position]
    if before[-1:] not in _BEFORE or (before[-2:-1].isalpha() and DISOWNED.search(before.lower())):
        return None
    verb, letter, number, line = found.groups()
    return letter or number or (line.strip() if _is_plain(line.lower(), verb) else None)


def _bare(text: str, answer_type: AnswerType | None, letters: int) -> str | None:
    if answer_type in (None, "number") and _BARE_NUMBER.fullmatch(text):
        return text
    letter = _BARE_LETTER.fullmatch(text) if answer_type in (None, "choice") else None
    return text if letter and ord((letter[1] or letter[2]).upper()) - ord("A") < letters else None


def _is_plain(line: str, verb: str | None) -> bool:
    """Whether a line holds no other marker and, behind "the answer is", is no description of an answer."""
    if _OTHER_MARKER.search(line):
        return False
    return not (verb and (line.startswith(_ADVERBS) or DESCRIBES.match(line)))
