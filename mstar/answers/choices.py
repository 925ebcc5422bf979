r"""Which choice an answer names: by letter, by content, or by both where they agree.

- A letter, of any case, alone or dressed: B, b, (B), B., B), [B], "option B", **B**, \text{B}. It must be
  within the choices; without listed choices any of A-Z will do.
- A content: equal as numbers where both are numbers (12.0 is 12, "12 cm" is 12), else as normalised texts.
- Both ("B) 15", "B: 15", "15 (B)", "15b") must agree. What follows a letter and a mark may also be an
  explanation ("B, because ...", "B. The area is 15"): its number, if it gives one, must agree; a text of up
  to three words is taken as a content (all or part of the letter's own, or the answer is none).
- Two different letters are no answer, nor is a letter that is called wrong.
- **A bare letter is always a letter**, in gold and answer alike, even where a choice's content is a single
  letter: with the choices ("B", "A"), "A" is the first choice, "(B) A" the second. Digits are never
  letters: with the choices ("2", "1"), "2" is the first choice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from mstar.answers.agreement import quantities_agree
from mstar.answers.cleaning import clauses, clean, normalize_text, without_copula
from mstar.answers.expressions import read_expression
from mstar.answers.quantities import Quantity, parse_quantity


class Content(NamedTuple):
    """One choice: its text (normalised, unless that makes two choices one) and its number, if it is one."""

    text: str
    number: Quantity | None


_NAMED = r"(?:(?:the\s+)?(?:correct\s+)?(?:answer|option|choice|letter)\s*(?:is|:)?\s*)"
_LETTER = re.compile(
    rf"{_NAMED}*[(\[{{\"']?\s*([A-Za-z])\s*[)\]}}\"']?\s*[.:,]?\s*(?:option|choice)?", re.IGNORECASE
)
_DRESSED = re.compile(
    rf"(?:{_NAMED}*(?:[(\[]\s*([A-Za-z])\s*[)\]]\s*[.:,\-—]?"
    rf"|([A-Za-z])\s*(?:[).:\]→]|,|\s[-—]\s|\s—|;))|{_NAMED}+([A-Za-z])\b)\s*",
    re.IGNORECASE,
)
_UNDRESSED = re.compile(r"([A-Z])\s+(?=\S)")
_CONTENT_AND_LETTER = re.compile(
    r"(.+?)(?:\s*[(\[]\s*(?:option\s+)?([A-Za-z])\s*[)\]]|[\s,]+(?:option\s+)?([A-Z])|(?<=\d)([a-zA-Z]))\.?"
)
_UNCERTAIN = r"(?:maybe\s+|perhaps\s+|possibly\s+|even\s+)?(?:option\s+|choice\s+)?"
_OTHER_LETTERS = re.compile(
    rf"(?:^|\b)(?:and|or|and/or|&|/|,)\s*{_UNCERTAIN}[(\[]?([A-Za-z])(?![\w'])|[(\[]([A-Za-z])[)\]]|\b([A-Z])\)"
)
_JOINED = re.compile(
    rf"\W{{0,3}}(?:and|or|and/or|&|/|,)\s*{_UNCERTAIN}[(\[]?([A-Za-z])(?![\w'])", re.IGNORECASE
)
_EXPLAINS = re.compile(
    r"(?:is (?:the |my )?(?:correct|right|best|answer|true)|as|because|since|which|that|so|it|due|correct"
    r"|\(?the correct)\b",
    re.IGNORECASE,
)
_CALLED_WRONG = re.compile(r"(?:is|was)\s+(?:not|in\w+|wrong|false)\b", re.IGNORECASE)
_SECOND = re.compile(r"^\W*(?:or|and|maybe|perhaps|possibly)\b|\b(?:could|might|may) (?:also )?be\b", re.I)
_LABEL = re.compile(r"\(?([A-Z])[).:]\s*(?=\S)")
_SHORT_CONTENT_WORDS = 3


@lru_cache(maxsize=8192)
def read_contents(choices: tuple[str, ...]) -> tuple[Content, ...]:
    """The contents of the choices."""
    cleaned = _labels_removed([clean(choice) for choice in choices])
    texts = [_text(choice) for choice in cleaned]
    return tuple(
        Content(
            text if text and texts.count(text) == 1 else choice.casefold(),
            parse_quantity(choice, sentence=False),
        )
        for text, choice in zip(texts, cleaned, strict=True)
    )


def _labels_removed(choices: list[str]) -> list[str]:
    """The contents without labels "A. ", "(B) ", ... where every choice carries its own."""
    labels = [_LABEL.match(choice) for choice in choices]
    own = all(label and _within(label[1], ()) == index for index, label in enumerate(labels))
    return (
        [choice[label.end() :] for choice, label in zip(choices, labels, strict=True) if label]
        if own
        else choices
    )


def named_choice(statement: str, choices: tuple[str, ...]) -> int | None:
    """Index of the one choice that a cleaned statement names, or None."""
    if len(statement) == 1 and statement.isascii() and statement.isalpha():
        return _within(statement, choices)
    contents = read_contents(choices)
    folded = statement.casefold()
    for index, content in enumerate(contents):
        if content.text == folded:
            return index
    letter = _LETTER.fullmatch(statement)
    if letter:
        return _within(letter[1], choices)
    dressed = _DRESSED.match(statement)
    if dressed:
        name = dressed.lastindex or 1
        mark, rest = statement[dressed.end(name) : dressed.end()], statement[dressed.end() :]
        return _letter_and_rest(dressed[name], mark, rest, choices)
    named = _named_by_content(statement, contents)
    undressed = _UNDRESSED.match(statement) if named is None else None
    return _letter_and_rest(undressed[1], "", statement[undressed.end() :], choices) if undressed else named


def _within(letter: str, choices: Sequence[str]) -> int | None:
    index = ord(letter.upper()) - ord("A")
    return index if 0 <= index < (len(choices) or 26) else None


def _text(statement: str) -> str:
    """A normalised text in which roots, powers and π are spelled in one way."""
    if statement.isascii() and statement.isalnum():
        return statement.casefold()
    if re.search(r"[\\√π^]|sqrt", statement):
        statement = read_expression(statement).formula
    return normalize_text(statement)


def _named_by_content(statement: str, contents: Sequence[Content]) -> int | None:
    for reading in clauses(statement):
        named = _content_index(without_copula(reading), contents)
        if named is None:
            named = _content_and_letter(reading, contents)
        if named is not None:
            return named if reading == statement or not _SECOND.search(statement[len(reading) :]) else None
    return None


def _letter_and_rest(letter: str, mark: str, rest: str, choices: tuple[str, ...]) -> int | None:
    """The letter's choice, unless what follows it names another one; `mark` stands between the two."""
    index = _within(letter, choices)
    rest = rest.strip()
    if index is None or not rest:
        return index
    joined = _JOINED.match(mark + rest)
    if (joined and _within(joined[1], ()) != index) or _CALLED_WRONG.match(rest):
        return None
    if _EXPLAINS.match(rest):
        return index
    contents = read_contents(choices)
    if contents and contents[index].text == rest.casefold():
        return index
    readings = list(clauses(rest))
    for reading in readings:
        named = _content_index(reading, contents)
        if named is not None:
            return index if named == index else None
    if _mentions_other(readings[-1], index):
        return None
    may_explain = bool(mark.strip())
    return index if _may_follow(readings[-1], index, contents, may_explain) else None


def _may_follow(rest: str, index: int, contents: Sequence[Content], may_explain: bool) -> bool:
    """Whether a text may follow a letter: part of its content, more than its content, or an explanation."""
    if not contents:
        return may_explain
    if contents[index].number and parse_quantity(rest):
        return False
    words = normalize_text(rest)
    leading = [i for i, content in enumerate(contents) if f"{words} ".startswith(f"{content.text} ")]
    if leading:
        return max(leading, key=lambda i: len(contents[i].text)) == index
    parts = [i for i, content in enumerate(contents) if set(words.split()) <= set(content.text.split())]
    return parts == [index] or (may_explain and len(words.split()) > _SHORT_CONTENT_WORDS)


def _mentions_other(text: str, index: int) -> bool:
    letters = {next(filter(None, found)) for found in _OTHER_LETTERS.findall(text)}
    return any(_within(letter, ()) != index for letter in letters)


def _content_index(statement: str, contents: Sequence[Content]) -> int | None:
    text = _text(statement)
    if not text:
        return None
    for index, content in enumerate(contents):
        if content.text in (text, statement.casefold()):
            return index
    quantity = parse_quantity(statement)
    if quantity is None:
        return None
    numbers = [(i, content.number) for i, content in enumerate(contents) if content.number]
    equal = [i for i, number in numbers if quantities_agree(number, quantity)]
    exact = [i for i, number in numbers if i in equal and number.value == quantity.value]
    candidates = exact or equal
    return candidates[0] if len(candidates) == 1 else None


def _content_and_letter(statement: str, contents: Sequence[Content]) -> int | None:
    match = _CONTENT_AND_LETTER.fullmatch(statement)
    if match is None:
        return None
    index = _content_index(match[1], contents)
    letter = match[2] or match[3] or match[4]
    return index if index is not None and index == _within(letter, ()) else None
