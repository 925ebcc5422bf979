r"""Which choice an answer names: by letter, by content, or by both where they agree.

- A letter, of any case, alone or dressed: B, b, (B), B., B), [B], "option B", **B**, \text{B}. It must be
  within the choices; without listed choices any of A-Z will do.
- A content: equal as numbers where both are numbers (12.0 is 12, "12 cm" is 12), else as normalised texts.
- Both ("B) 15", "B: 15", "15 (B)", "15b") must agree. Text behind a letter that is an explanation ("B,
  because ...", "B. The area is 15") is read no further than its number; a text of up to three words counts
  as a content.
- Two different letters are no answer.
- **A bare letter is always a letter**, in gold and answer alike, even where a choice's content is a single
  letter: with the choices ("B", "A"), "A" is the first choice, "(B) A" the second. Digits are never
  letters: with the choices ("2", "1"), "2" is the first choice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from mstar.answers.cleaning import clauses, clean, normalize_text
from mstar.answers.quantities import Quantity, parse_quantity, quantities_agree

_NAMED = r"(?:(?:the\s+)?(?:correct\s+)?(?:answer|option|choice|letter)\s*(?:is|:)?\s*)*"
_LETTER = re.compile(
    rf"{_NAMED}[(\[{{\"']?\s*([A-Za-z])\s*[)\]}}\"']?\s*[.:,]?\s*(?:option|choice)?", re.IGNORECASE
)
_DRESSED = re.compile(
    rf"(?:{_NAMED}(?:[(\[]\s*([A-Za-z])\s*[)\]]\s*[.:,\-—]?|([A-Za-z])\s*(?:[).:\]]|,|\s[-—]\s|\s—|;))"
    r"|(?:(?:the\s+)?(?:correct\s+)?(?:option|choice|letter)\s*(?:is|:)?\s*)+([A-Za-z])\b)\s*",
    re.IGNORECASE,
)
_UNDRESSED = re.compile(r"([A-Z])\s+(?=\S)")
_TRAILING = re.compile(
    r"(.+?)(?:\s*[(\[]\s*(?:option\s+)?([A-Za-z])\s*[)\]]|[\s,]+(?:option\s+)?([A-Z])|(?<=\d)([a-zA-Z]))\.?"
)
_OTHER_LETTERS = re.compile(
    r"(?:^|\b)(?:and|or|and/or|&|/|,)\s*(?:maybe\s+|perhaps\s+|possibly\s+|even\s+)?(?:option\s+|choice\s+)?"
    r"[(\[]?([A-Za-z])(?![\w'])|[(\[]([A-Za-z])[)\]]|\b([A-Z])\)"
)
_JOINED = re.compile(
    r"\W{0,3}(?:and|or|and/or|&|/|,)\s*(?:maybe\s+|perhaps\s+|possibly\s+|even\s+)?(?:option\s+|choice\s+)?"
    r"[(\[]?([A-Za-z])(?![\w'])",
    re.IGNORECASE,
)
_EXPLAINS = re.compile(
    r"(?:is|was|as|because|since|which|that|so|it|due|and is|the correct|correct|\(?the correct)\b",
    re.IGNORECASE,
)
_SECOND = re.compile(
    r"^\W*(?:or|and|maybe|perhaps|possibly)\b|\b(?:could|might|may) (?:also )?be\b", re.IGNORECASE
)
_SHORT_CONTENT_WORDS = 3


@lru_cache(maxsize=4096)
def read_contents(choices: tuple[str, ...]) -> tuple[tuple[str, Quantity | None], ...]:
    """Each choice as a text and, where it is one, as a number.

    The text is normalised, unless that makes two choices one ("(1, 2)" and "[1, 2]").
    """
    cleaned = [clean(choice) for choice in choices]
    texts = [normalize_text(choice) for choice in cleaned]
    return tuple(
        (
            text if text and texts.count(text) == 1 else choice.casefold(),
            parse_quantity(choice, sentence=False),
        )
        for text, choice in zip(texts, cleaned, strict=True)
    )


def named_choice(statement: str, choices: tuple[str, ...]) -> int | None:
    """Index of the one choice that a cleaned statement names, or None."""
    if len(statement) == 1 and statement.isascii() and statement.isalpha():
        return _within(statement, choices)
    contents = read_contents(choices)
    for index, (content, _) in enumerate(contents):
        if content == statement.casefold():
            return index
    letter = _LETTER.fullmatch(statement)
    if letter:
        return _within(letter[1], choices)
    dressed = _DRESSED.match(statement)
    if dressed:
        name = dressed.lastindex or 1
        separator = statement[dressed.end(name) : dressed.end()]
        return _letter_and_rest(dressed[name], separator, statement[dressed.end() :], choices)
    for reading in clauses(statement):
        named = _content_index(reading, contents)
        if named is None:
            named = _content_and_letter(reading, contents)
        if named is not None:
            return named if reading == statement or not _SECOND.search(statement[len(reading) :]) else None
    undressed = _UNDRESSED.match(statement)
    return _letter_and_rest(undressed[1], " ", statement[undressed.end() :], choices) if undressed else None


def _within(letter: str, choices: Sequence[str]) -> int | None:
    index = ord(letter.upper()) - ord("A")
    return index if 0 <= index < (len(choices) or 26) else None


def _letter_and_rest(letter: str, separator: str, rest: str, choices: tuple[str, ...]) -> int | None:
    """The letter's choice, unless what follows it names another one."""
    index = _within(letter, choices)
    if index is None or not rest.strip():
        return index
    joined = _JOINED.match(separator + rest)
    if joined and _within(joined[1], ()) != index:
        return None
    if _EXPLAINS.match(rest.strip()):
        return index
    readings = [reading for reading in clauses(rest.strip()) if reading]
    if _mentions_other(readings[-1], index):
        return None
    if not choices:
        return index
    contents = read_contents(choices)
    for reading in readings:
        named = _content_index(reading, contents)
        if named is not None:
            return index if named == index else None
    return index if _leads_with(readings[-1], index, contents) else None


def _leads_with(rest: str, index: int, contents: Sequence[tuple[str, Quantity | None]]) -> bool:
    """Whether what follows a letter may stand beside it: its content with more words, or an explanation."""
    quantity = parse_quantity(rest)
    if quantity and contents[index][1]:
        return False
    words = f"{normalize_text(rest)} "
    leading = [i for i, (text, _) in enumerate(contents) if text and words.startswith(f"{text} ")]
    if leading:
        return max(leading, key=lambda i: len(contents[i][0])) == index
    parts = [i for i, (text, _) in enumerate(contents) if set(words.split()) <= set(text.split())]
    return parts == [index] or len(words.split()) > _SHORT_CONTENT_WORDS


def _mentions_other(text: str, index: int) -> bool:
    letters = {next(filter(None, found)) for found in _OTHER_LETTERS.findall(text)}
    return any(ord(letter.upper()) - ord("A") != index for letter in letters)


def _content_index(statement: str, contents: Sequence[tuple[str, Quantity | None]]) -> int | None:
    text = normalize_text(statement)
    if not text:
        return None
    for index, (content, _) in enumerate(contents):
        if content == text:
            return index
    quantity = parse_quantity(statement)
    if quantity is None:
        return None
    equal = [i for i, (_, number) in enumerate(contents) if number and quantities_agree(number, quantity)]
    exact = [i for i in equal if contents[i][1].value == quantity.value]  # type: ignore[union-attr]
    candidates = exact or equal
    return candidates[0] if len(candidates) == 1 else None


def _content_and_letter(statement: str, contents: Sequence[tuple[str, Quantity | None]]) -> int | None:
    match = _TRAILING.fullmatch(statement)
    if match is None:
        return None
    index = _content_index(match[1], contents)
    letter = match[2] or match[3] or match[4]
    return index if index is not None and index == ord(letter.upper()) - ord("A") else None
