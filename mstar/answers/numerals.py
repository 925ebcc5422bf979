"""Numbers in English words: "fourteen", "one hundred twenty-five", "two thirds", "two and a half"."""

from __future__ import annotations

import re
from fractions import Fraction

SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_VALUES = {word: value for value, word in enumerate(_SMALL)}
_VALUES |= {word: 10 * ten for ten, word in enumerate(_TENS, start=2)}
_ORDINALS = "third fourth fifth sixth seventh eighth ninth tenth".split()
_PARTS = {"half": 2, "halves": 2, "quarter": 4, "quarters": 4}
_PARTS |= {word + ending: part for part, word in enumerate(_ORDINALS, start=3) for ending in ("", "s")}
_WORD = re.compile(r"[a-z]+")


def numeral_before(text: str) -> tuple[Fraction, int | None, int, int] | None:
    """The number that a lower-cased text begins with: value, decimals, significant digits, and where it ends.

    None where it begins with no number word, or goes on with one that cannot follow ("two three").
    """
    words = [(match[0], match.end()) for match in _WORD.finditer(text)]
    whole, used = _whole(words)
    part, end = _part(words, used, whole)
    if part is not None:
        return part, None, 0, words[end - 1][1]
    if not used or (used < len(words) and (words[used][0] in _VALUES or words[used][0] in _PARTS)):
        return None
    return Fraction(whole), 0, 2, words[used - 1][1]


def _whole(words: list[tuple[str, int]]) -> tuple[int, int]:
    """The whole number that the words begin with, and how many of them it takes."""
    total, group, last, used = 0, 0, 0, 0
    for position, (word, _) in enumerate(words):
        following = words[position + 1][0] if position + 1 < len(words) else ""
        after_ten = last in range(20, 100, 10) and 0 < _VALUES.get(word, 0) < 10
        if word in _VALUES and (last in (0, 100) or after_ten):
            group, last = group + _VALUES[word], _VALUES[word] or 1
        elif word == "hundred" and 0 < group < 10:
            group, last = group * 100, 100
        elif word in SCALES and word != "hundred" and group:
            total, group, last = total + group * SCALES[word], 0, 100
        elif not (word == "and" and last == 100 and following in _VALUES):
            break
        used = position + 1
    return total + group, used


def _part(words: list[tuple[str, int]], used: int, whole: int) -> tuple[Fraction | None, int]:
    """ "two thirds", "half", "a quarter", "two and a half": the value and how many words it takes."""
    rest = [word for word, _ in words[used : used + 3]]
    if used and rest[:1] and rest[0] in _PARTS and whole < 100:
        return Fraction(whole, _PARTS[rest[0]]), used + 1
    if used and rest[:1] == ["and"] and rest[1:2] in (["a"], ["one"]) and rest[2:] and rest[2] in _PARTS:
        return whole + Fraction(1, _PARTS[rest[2]]), used + 3
    if not used and rest[:1] == ["a"] and rest[1:2] and rest[1] in ("half", "third", "quarter"):
        return Fraction(1, _PARTS[rest[1]]), 2
    if not used and rest[:1] == ["half"]:
        return Fraction(1, 2), 1
    return None, used
