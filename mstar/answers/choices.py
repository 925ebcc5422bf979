r"""Which choice an answer names: by letter, by content, or by both where they agree.

- A letter, of any case, alone or dressed: B, b, (B), B., "option B", 选项B; any where no choices are listed.
  **A bare letter is always a letter**: of ("B", "A"), "A" is the first; but of ("x", "y"), "y" is a content.
  A small "a" may be the article.
- A content: equal as spelled, else without case, else as a text, else as a number ("12 cm" is 12); also
  behind a lead ("The city is Paris."). Where two contents are equal, either names both.
- What follows a letter and a mark may be the content, which must agree, or an explanation; up to three words
  are part of the letter's content.
- Two different letters are no answer, unless the gold is several letters ("ACD"): then it must be those.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from mstar.answers.cleaning import clauses, clean, normalize_text
from mstar.answers.doubt import HARMLESS, is_taken_back
from mstar.answers.leads import behind_leads
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


_NAME = r"(?:answer|option|opción|choice|letter|选项|选择?)"
_NAMED = rf"(?:(?:the\s+)?(?:correct\s+)?{_NAME}\s*(?:(?:is|[:为是])\s*)?)"
_DRESSED = late(rf"""(?ix)
    (?:it(?:\s+is|\s+must\s+be|'s)\s+)?(?:{_NAMED}*(?:[(\[{{"']\s*([A-Z])\s*[)\]}}"']\s*(?:[.:,—]|-(?!\s?\S)|[-–](?=\s))?
      |[(\[{{"']?\s*([A-Z])\s*(?:[).:\]→の]|,|\s[-—]\s|\s—|;|(?=\()|[}}"']?\s*(?:option|choice|选?项)?$))
    |{_NAMED}+([A-Z])\b)\s*""")
_UNDRESSED = late(
    r"([B-HJ-Z]|[AI](?=\s+(?:[^a-z]|because|since|as|here|rather|not|over|instead|second)))\s+(?=\S)"
)
_CONTENT_AND_LETTER = late(
    r"(.+?)(?:\s*[(\[]\s*(?:option\s+)?([A-Za-z])\s*[)\]]|(?:,\s+so\s+option\s+|[\s,]+(?:option\s+)?)([A-Z])|(?<=\d)([a-zA-Z]))\.?"
)
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
    return tuple(map(read_content, plain))


@lru_cache(maxsize=8192)
def read_content(plain: str) -> Content:
    """A cleaned statement or choice as contents are compared."""
    return Content(plain, spelled(plain), normalize_text(plain), parse_quantity(plain, sentence=False))


def read_letters(statement: str, choices: Sequence[str]) -> str:
    """The letters of a statement of several different ones, in order; "" for any other statement."""
    letters = sorted(filter(str.isupper, statement)) if _LETTERS.fullmatch(statement) else []
    is_several = 1 < len(letters) == len(set(letters)) and _within(letters[-1], choices)
    return "".join(letters) if is_several else ""


def named_choice(statement: str, choices: tuple[str, ...]) -> Named | None:
    """The choice that a cleaned statement names (by content: with those of the same content), or None."""
    contents = read_contents(choices)
    plain = [one.plain for one in contents]
    if statement in plain and (len(statement) > 1 or not _within(statement, choices)):
        return frozenset({plain.index(statement)})
    dressed = _DRESSED.match(statement)
    if dressed and (dressed.end() < len(statement) or _within(dressed[dressed.lastindex or 1], choices)):
        name = dressed.lastindex or 1
        mark, rest = statement[dressed.end(name) : dressed.end()], statement[dressed.end() :]
        return _letter_and_rest(dressed[name], mark.strip(), rest, choices)
    for reading, rest in clauses(statement):
        named = _by_content(reading, contents) or _content_and_letter(reading, contents)
        if named is not None:
            return None if is_taken_back(rest, reading) else named
    undressed = _UNDRESSED.match(statement)
    return _letter_and_rest(undressed[1], "", statement[undressed.end() :], choices) if undressed else None


def _within(letter: str, choices: Sequence[object]) -> Named | None:
    index = ord(letter.upper()[0]) - ord("A")
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
    explains = _EXPLAINS.match(rest) or _may_follow(rest, index, contents, bool(mark) or rest[0] == "(")
    return named if explains else None


def _may_follow(rest: str, index: int, contents: Sequence[Content], may_explain: bool) -> bool:
    """Whether a text may follow a letter: part of its content, more than its content, or an explanation."""
    words = normalize_text(rest)
    leading = [i for i, one in enumerate(contents) if one.text and f"{words} ".startswith(f"{one.text} ")]
    if leading:
        return max(leading, key=lambda i: len(contents[i].text)) == index
    parts = [i for i, one in enumerate(contents) if set(words.split()) <= set(one.text.split())]
    return parts == [index] or (may_explain and len(words.split()) > _SHORT_CONTENT_WORDS)


_WAYS: tuple[Callable[[Content, Content], object], ...] = (
    lambda one, stated: one.spelling == stated.spelling,
    lambda one, stated: one.spelling.casefold() == stated.spelling.casefold(),
    lambda one, stated: one.text == stated.text != "",
    lambda one, stated: one.number and stated.number and quantities_agree(one.number, stated.number),
)


def _by_content(statement: str, contents: Sequence[Content]) -> Named | None:
    """Those whose content a statement gives: as spelled, else without case, as a text, or as a number."""
    for stated in map(read_content, behind_leads(statement)):
        for is_given in _WAYS:
            if found := [i for i, one in enumerate(contents) if is_given(one, stated)]:
                return frozenset(found) if len({contents[i].spelling for i in found}) == 1 else None
    return None


def _content_and_letter(statement: str, contents: Sequence[Content]) -> Named | None:
    match = _CONTENT_AND_LETTER.fullmatch(statement)
    letter = _within(match[2] or match[3] or match[4], contents) if match else None
    named = _by_content(match[1], contents) if match and letter else None
    return letter if letter and named and letter <= named else None
