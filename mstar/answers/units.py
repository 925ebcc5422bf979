"""The units that may stand behind (or before) a number: a closed grammar, their spellings and conversions.

A unit is a product of known units (`km/h`, "square centimeters"; units.txt lists them), or up to three plain
words that name what is counted ("apples", 个), which words of grammar and number words do not. Units of one
kind convert; temperatures and currencies never do, and neither do months into days or litres into cubes.
"""

import re
from collections import Counter
from fractions import Fraction
from functools import lru_cache
from importlib.resources import files

from mstar.answers.numerals import NUMBER_WORDS
from mstar.answers.patterns import late

_TABLE = (files("mstar.answers") / "units.txt").read_text("utf-8")
_ROWS = [line.split() for line in _TABLE.splitlines() if line and line[0] != "#"]
_SYMBOLS = frozenset(symbol for _, symbol, *_ in _ROWS)
_CANONICAL = {spelling: symbol for _, symbol, _, *spellings in _ROWS for spelling in (symbol, *spellings)}
_FACTORS = {symbol: (kind, Fraction(size)) for kind, symbol, size, *_ in _ROWS if kind != "-"}
_SIGNS = {"square": "^2", "squared": "^2", "sq": "^2", "cubic": "^3", "cubed": "^3", "cu": "^3",
          "平方": "^2", "立方": "^3", "per": "/", "*": "·"}  # fmt: skip
_FILLERS_TEXT = (
    "long tall wide high deep old away total altogether in all only approximately about exactly the of us "
    "approx remaining more there are is each left together"
)
_FILLERS = frozenset(_FILLERS_TEXT.split())
ONE = Fraction(1)
_GENERIC = frozenset({"", "unit", "unit^2", "unit^3", "单位"})
_COUNTERS = frozenset(
    "个只人张本支条块名位辆台件次种棵朵头匹把双对盒箱袋杯瓶页题道组层倍步分点号颗根间座艘架"
)
_NO_NOUNS_TEXT = (
    "dozen plus minus divided over root sqrt factorial power exponent thousandth hundredth and not but per "
    "with without from for than that this these those its she they you was were been being has have had does "
    "did can could may might must should will would either neither maybe perhaps possibly probably between "
    "never cannot less least most under below above fewer greater within unknown unsure unless versus except "
    "because since then when where which who what yes true false wrong right correct incorrect wait guess "
    "mod actually hmm sorry rather instead also too very small large big high low before after until during "
    "max maximum minimum ish"
)
_NO_NOUNS = NUMBER_WORDS.union(_NO_NOUNS_TEXT.split())
_POINT = late(r"(?<=[A-Za-z])\.(?![A-Za-z]{2})")
_NOUN = late(r"[a-zß-ɏ]{3,20}|o'clock|[ap]m|tv|cd|ox")
_TOKEN = late(
    r"[一-鿿]+|[^\W\d_一-鿿]+(?:'[^\W\d_]+)?|[/·*]|\^\s*\{?\s*(-?\d)\s*\}?|(?<=[a-z])[23](?!\w)"
    r"|[°%$€£¥₹¢]|(?P<other>\S)"
)
_INCH = late(r"(?<!\S)in(?= [\^/·]|$)")
_JOINTS = (
    (late(r"(?:^|(?<=[/·] ))(\^\S+) ([^\s^/·]+)"), r"\2\1"),
    (late(r" (?=\^)"), ""), (late(r"° (?:coulomb|c)(?!\S)"), "°c"),
    (late(r"° f(?!\S)"), "°f"), (late(r"° (?=°)"), ""),
)  # fmt: skip
"""Powers stand behind their unit ("square cm" and "cm squared" alike), and what is one unit is one word."""
_POWER = late(r"\^(-?\d)$")
_PLURAL = late(r"ies$|(?<=ss)es$|(?<=x)es$|(?<=ch)es$|(?<=sh)es$|(?<!s)s$")


@lru_cache(maxsize=4096)
def read_unit(phrase: str) -> str | None:
    """The canonical unit that a phrase names, "" for none and for the generic "units"; None for no unit."""
    matches = list(_TOKEN.finditer(_POINT.sub("", phrase.replace("per cent", "percent")).strip(" -")))
    if any(match["other"] for match in matches):
        return None
    text = _INCH.sub("inch", " ".join(token for match in matches for token in _tokens(match)))
    text = " ".join(word for word in text.split() if word not in _FILLERS)
    for pattern, joined in _JOINTS:
        text = pattern.sub(joined, text)
    words = text.split()
    unit = "".join(words) if any(mark in words for mark in "/·") else " ".join(words)
    if unit in _GENERIC or is_measure(unit):
        return "" if unit in _GENERIC else unit
    names = [_POWER.sub("", word) for word in words if word not in "/·"]
    return unit if 1 <= len(names) <= 3 and all(map(_is_noun, names)) else None


def is_measure(unit: str) -> bool:
    """Whether a canonical unit is made of known units only (as `km/h` is, and `red apple` is not)."""
    parts = _parts(unit.removeprefix("/"))
    return all(part in _SYMBOLS for part, _ in parts)


def conversion(gold: str, given: str) -> Fraction | None:
    """What a value in the `given` unit is multiplied with to be in the `gold` unit; None where they disagree.

    No unit agrees with any; a counted noun agrees where the given phrase contains it.
    """
    if not gold or not given or gold == given or (gold, given) in (("£", "lb"), ("°c", "°"), ("°f", "°")):
        return ONE
    wanted, stated = _dimension(gold), _dimension(given)
    if wanted and stated and wanted[0] == stated[0]:
        return stated[1] / wanted[1]
    is_part = not is_measure(gold) and set(gold.split()) <= set(given.split())
    return ONE if is_part else None


def _parts(unit: str) -> list[tuple[str, int]]:
    """The factors of a canonical unit with their exponents."""
    parts = []
    for position, factors in enumerate(unit.split("/")):
        for factor in factors.split("·"):
            name, power = _POWER.sub("", factor), _POWER.search(factor)
            parts.append((name, int(power[1] if power else 1) * (-1 if position else 1)))
    return parts


@lru_cache(maxsize=4096)
def _dimension(unit: str) -> tuple[dict[str, int], Fraction] | None:
    """The kinds that a unit is made of, and its size in their base units; None for what does not convert."""
    kinds: Counter[str] = Counter()
    size = Fraction(1)
    for name, power in _parts(unit):
        if name not in _FACTORS:
            return None
        kinds[_FACTORS[name][0]] += power
        size *= _FACTORS[name][1] ** power
    return {kind: power for kind, power in kinds.items() if power}, size


def _is_noun(word: str) -> bool:
    if "一" <= word[:1] <= "鿿":
        return word[0] in _COUNTERS and len(word) <= 4
    return word in _SYMBOLS or (word not in _NO_NOUNS and _NOUN.fullmatch(word) is not None)


def _tokens(match: re.Match[str]) -> list[str]:
    token = match[0]
    if match[1] or token.isdigit():
        return [f"^{match[1] or token}"]
    if token[:2] in ("平方", "立方"):
        return [_SIGNS[token[:2]], _CANONICAL.get(token[2:], token[2:] or "unit")]
    word = token if token in _CANONICAL else token.casefold()
    return [_SIGNS.get(word) or _CANONICAL.get(word) or _singular(word)]


def _singular(word: str) -> str:
    if len(word) > 2 and word not in _NO_NOUNS:
        singular = _PLURAL.sub(lambda ending: "y" if ending[0] == "ies" else "", word)
        return _CANONICAL.get(singular, singular)
    return word
