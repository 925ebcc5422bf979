r"""Which choice an answer names: by letter, by content, or by both where they agree.

- A letter, of any case, alone or dressed: B, b, (B), B., B), [B], "option B", **B**, 选项B. It must be within
  the choices; without listed choices any of A-Z will do. A small "a" before a word is the article.
- A content: equal as spelled (spaces, LaTeX and sub- and superscripts aside), else without case, else as
  normalised texts, else as numbers ("12 cm" is 12); also at a sentence's end ("The city is Paris."). Where
  two contents differ in case only, case decides; where two are equal, either names both.
- Both ("B) 15", "15 (B)", "15b") must agree. What follows a letter and a mark may also be an explanation ("B,
  because ..."): its number, if it gives one, must agree; up to three words are part of the letter's content.
- Two different letters are no answer, unless the gold is several letters ("ACD"): then it must be those.
- **A bare letter is always a letter**, in gold and answer alike: of ("B", "A"), "A" is the first choice.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from mstar.answers.cleaning import clauses, clean, normalize_text, without_lead
from mstar.answers.doubt import HARMLESS, is_taken_back
from mstar.answers.expressions import NAME_EQUALS
from mstar.answers.patterns import late
from mstar.answers.quantities import Quantity, parse_quantity, quantities_agree
from mstar.answers.spelling import spelled

Named = frozenset[int]


class Content(NamedTuple):
    """One choice in plain characters: its exact spelling, its text without case, its number, if it is one."""

    plain: str
    spelling: str
    text: str
    number: Quantity | None


_NAMED = (
    r"(?:(?:the\s+)?(?:correct\s+)?(?:answer|option|opción|choice|letter|选项|选择?)\s*(?:is|:|为|是)?\s*)"
)
_ALONE = late(
    rf"(?i)(?:it(?:\s+is|'s)\s+)?{_NAMED}*[(\[{{\"']?\s*([A-Za-z])\s*[)\]}}\"']?\s*[.:,]?\s*(?:option|choice|选?项)?"
)
_DRESSED = late(
    rf"(?i)(?:{_NAMED}*(?:[(\[]\s*([A-Za-z])\s*[)\]]\s*(?:[.:,—]|-(?!\s?\S)|[-–](?=\s))?"
    rf"|([A-Za-z])\s*(?:[).:\]→の]|,|\s[-—]\s|\s—|;|(?=\()))|{_NAMED}+([A-Za-z])\b)\s*"
)
_UNDRESSED = late(
    r"([B-HJ-Z]|[AI](?=\s+(?:[^a-z]|because|since|as|here|rather|not|over|instead|second)))\s+(?=\S)"
)
_CONTENT_AND_LETTER = late(
    r"(.+?)(?:\s*[(\[]\s*(?:option\s+)?([A-Za-z])\s*[)\]]|(?:,?\s+(?:so|thus|hence|therefore))?[\s,]+(?:option\s+)?([A-Z])|(?<=\d)([a-zA-Z]))\.?"
)
_OTHER = (
    r"(?:maybe\s+|perhaps\s+|possibly\s+|even\s+)?(?:option\s+|choice\s+)?"
    r"(?:([A-Z])(?![\w'])(?! (?!and\b|or\b)[a-z])|[(\[]([A-Za-z])[)\]])"
)
_OTHER_LETTER = late(rf"(?:^|\b)(?:and|or|and/or|&|/|,)\s*{_OTHER}|[(\[]([A-Za-z])[)\]]|\b([A-Z])\)")
_EXPLAINS = late(
    r"(?i)(?:is (?:the |my )?(?:correct|right|best|answer|true)|as|because|since|which|that|with|here|\(see"
    r"|so|therefore|thus|hence|it|due|correct|not|(?:i )?hope|thanks?|good luck|let me know|done"
    r"|this|q\.?e\.?d|即|因为|由于|是?正确|\(?the correct)(?![a-z])"
)
_NAMELY = late(r"^(?:i\.?e\.?|namely|that is|which is),?\s+", re.IGNORECASE)
_LABEL = late(r"\(?([A-Z])[).:]\s*(?=\S)")
_LETTERS = late(r"(?:[(\[]?[A-Z][)\]]?(?:\s*(?:[,;&/、]|and)\s*|\s*))+")
_SHORT_CONTENT_WORDS = 3


@lru_cache(maxsize=8192)
def read_contents(choices: tuple[str, ...]) -> tuple[Content, ...]:
    """The contents of the choices, without labels "A. ", "(B) ", ... where every choice carries its own."""
    plain = [clean(choice) for choice in choices]
    labels = [_LABEL.match(choice) for choice in plain]
    if all(label and ord(label[1]) - ord("A") == index for index, label in enumerate(labels)):
        plain = [choice[label.end() :] for choice, label in zip(plain, labels, strict=True) if label]
    return tuple(
        Content(choice, spelled(choice), normalize_text(choice), parse_quantity(choice, sentence=False))
        for choice in plain
    )


def read_letters(statement: str, choices: Sequence[str]) -> str:
    """The letters of a statement of several different ones, in order; "" for any other statement."""
    letters = sorted(filter(str.isupper, statement)) if _LETTERS.fullmatch(statement) else []
    is_several = 1 < len(letters) == len(set(letters)) and _within(letters[-1], choices)
    return "".join(letters) if is_several else ""


def named_choice(statement: str, choices: tuple[str, ...]) -> Named | None:
    """The choice that a cleaned statement names (by content: with those of the same content), or None."""
    statement = statement.rstrip("! ")
    contents = read_contents(choices)
    is_letter = len(statement) == 1 and statement.isascii() and statement.isalpha()
    named = None if is_letter else _by_spelling(statement, contents)
    if named is not None:
        return named
    letter = _ALONE.fullmatch(statement)
    if letter:
        return _within(letter[1], choices)
    dressed = _DRESSED.match(statement)
    if dressed:
        name = dressed.lastindex or 1
        mark, rest = statement[dressed.end(name) : dressed.end()], statement[dressed.end() :]
        return _letter_and_rest(dressed[name], mark.strip(), rest, choices)
    for reading, rest in clauses(statement):
        stated = (reading, without_lead(reading), NAME_EQUALS.sub("", reading))
        named = next(filter(None, (_by_content(one, contents) for one in stated)), None)
        named = named or _content_and_letter(reading, contents)
        if named is not None:
            return None if is_taken_back(rest, reading) else named
    undressed = _UNDRESSED.match(statement)
    return _letter_and_rest(undressed[1], "", statement[undressed.end() :], choices) if undressed else None


def _within(letter: str, choices: Sequence[object]) -> Named | None:
    index = ord(letter.upper()) - ord("A")
    return frozenset({index}) if 0 <= index < (len(choices) or 26) else None


def _letter_and_rest(letter: str, mark: str, rest: str, choices: tuple[str, ...]) -> Named | None:
    """The letter's choice, unless what follows it names another one or takes it back; `mark` is between."""
    named, rest = _within(letter, choices), _NAMELY.sub("", rest.strip())
    if named is None or not rest:
        return named
    contents = read_contents(choices)
    if not contents and parse_quantity(rest, sentence=False):
        return named if mark else None
    for reading, behind in clauses(rest):
        stated = _by_content(reading, contents)
        if stated is not None:
            return named if named <= stated and not is_taken_back(behind, letter) else None
    harmful = HARMLESS.sub(" ", rest)
    if not harmful.strip(" .,;()"):
        return named
    (index,) = named
    own = contents[index].plain if contents else ""
    starts_with_own = own and rest.casefold().startswith(own.casefold())
    behind = rest[len(own) :] if starts_with_own else f"{mark} {rest}"
    if is_taken_back(behind, letter):
        return None
    if _EXPLAINS.match(rest):
        return named
    others = (next(filter(None, other.groups())) for other in _OTHER_LETTER.finditer(f"{mark} {harmful}"))
    if any(_within(other, ()) != named for other in others):
        return None
    return named if _may_follow(rest, index, contents, bool(mark) or rest[0] == "(") else None


def _may_follow(rest: str, index: int, contents: Sequence[Content], may_explain: bool) -> bool:
    """Whether a text may follow a letter: part of its content, more than its content, or an explanation."""
    if not contents:
        return may_explain
    *_, (shortest, _) = clauses(rest)
    if contents[index].number and parse_quantity(shortest):
        return False
    words = normalize_text(rest)
    leading = [i for i, one in enumerate(contents) if one.text and f"{words} ".startswith(f"{one.text} ")]
    if leading:
        return max(leading, key=lambda i: len(contents[i].text)) == index
    parts = [i for i, one in enumerate(contents) if set(words.split()) <= set(one.text.split())]
    return parts == [index] or (may_explain and len(words.split()) > _SHORT_CONTENT_WORDS)


def _by_spelling(statement: str, contents: Sequence[Content]) -> Named | None:
    """Those whose content a statement spells: exactly, else without case."""
    spelling = spelled(statement)
    folded = [i for i, content in enumerate(contents) if content.spelling.casefold() == spelling.casefold()]
    exact = [i for i in folded if contents[i].spelling == spelling]
    return _if_one_content(exact or folded, contents)


def _by_content(statement: str, contents: Sequence[Content]) -> Named | None:
    """Those whose content a statement gives: as spelled, else as a normalised text, else as a number."""
    named, text = _by_spelling(statement, contents), normalize_text(statement)
    if named is None and text:
        named = _if_one_content([i for i, content in enumerate(contents) if content.text == text], contents)
    quantity = parse_quantity(statement) if named is None else None
    if quantity is None:
        return named
    numbers = {i: one.number for i, one in enumerate(contents) if one.number}
    equal = [i for i, number in numbers.items() if quantities_agree(number, quantity)]
    found = [i for i in equal if numbers[i].value == quantity.value] or equal
    return frozenset(found) if len({numbers[i] for i in found}) == 1 else None


def _if_one_content(found: list[int], contents: Sequence[Content]) -> Named | None:
    return frozenset(found) if len({contents[i].spelling for i in found}) == 1 else None


def _content_and_letter(statement: str, contents: Sequence[Content]) -> Named | None:
    match = _CONTENT_AND_LETTER.fullmatch(statement)
    letter = _within(match[2] or match[3] or match[4], contents) if match else None
    named = _by_content(match[1], contents) if match and letter else None
    return letter if letter and named and letter <= named else None
