"""Numbers in English words: "fourteen", "one hundred twenty-five", "two thirds", "two and a half"."""

import re
from fractions import Fraction

SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
"""Words for powers of ten."""
_SMALL = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
_VALUES = {word: value for value, word in enumerate(f"{_SMALL} sixteen seventeen eighteen nineteen".split())}
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_VALUES |= {word: 10 * ten for ten, word in enumerate(_TENS.split(), start=2)}
_ORDINALS = "third fourth fifth sixth seventh eighth ninth tenth"
_PARTS = {"half": 2, "halves": 2, "quarter": 4, "quarters": 4}
_PARTS |= {word + end: part for part, word in enumerate(_ORDINALS.split(), 3) for end in ("", "s")}
NUMBER_WORDS = frozenset(_VALUES | SCALES | _PARTS)


def numeral_before(text: str) -> tuple[Fraction, int] | None:
    """The number that a lower-cased text begins with, and where it ends.

    None where it begins with no number word, or goes on with one that cannot follow ("two three").
    """
    matches = list(re.finditer(r"[a-z]+", text))
    words = [match[0] for match in matches]
    if words[:1] == ["a"] and {*words[1:2]} & (SCALES.keys() | _PARTS.keys()):
        words[0] = "one"
    whole, used = _whole(words)
    rest = [*words[used : used + 3], "", "", ""]
    if rest[0] == "half" and not used:
        return Fraction(1, 2), matches[0].end()
    if used and whole < 100 and rest[0] in _PARTS:
        return Fraction(whole, _PARTS[rest[0]]), matches[used].end()
    if used and rest[0] == "and" and rest[1] in ("a", "one") and rest[2] in _PARTS:
        return whole + Fraction(1, _PARTS[rest[2]]), matches[used + 2].end()
    if not used or rest[0] in _PARTS or rest[0] in _VALUES:
        return None
    return Fraction(whole), matches[used - 1].end()


def _whole(words: list[str]) -> tuple[int, int]:
    """The whole number that the words begin with, and how many of them it takes."""
    total, group, last, used = 0, 0, 0, 0
    for position, word in enumerate(words):
        value = _VALUES.get(word)
        if value is not None and (last in (0, 100) or (last in range(20, 100, 10) and 0 < value < 10)):
            group, last = group + value, value or 1
        elif word == "hundred" and 0 < group < 20:
            group, last = group * 100, 100
        elif word in SCALES and word != "hundred" and group:
            total, group, last = total + group * 10 ** SCALES[word], 0, 100
        elif not (word == "and" and last == 100 and _VALUES.keys() & words[position + 1 : position + 2]):
            break
        used = position + 1
    return total + group, used
