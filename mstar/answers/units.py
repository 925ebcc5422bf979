"""Canonical spelling of units: "square centimeters", "sq. cm", "cm²" and "cm^2" are all `cm^2`.

Units are only recognised, never converted: 12 cm and 0.12 m are different answers. A phrase that names no
known unit ("apples", "red apples") keeps its words, lower-cased and singular.
"""

from __future__ import annotations

import re
from functools import lru_cache

_SPELLINGS: dict[str, str] = {
    "mm": "millimeter millimetre", "cm": "centimeter centimetre cms", "dm": "decimeter decimetre",
    "m": "meter metre mtr", "km": "kilometer kilometre kms", "inch": "inches", "ft": "foot feet",
    "yd": "yard", "mi": "mile", "nm": "nanometer nanometre", "µm": "μm um micrometer micrometre micron",
    "mg": "milligram", "g": "gram gramme gm gms", "kg": "kilogram kgs kilo", "t": "ton tonne",
    "lb": "pound lbs", "oz": "ounce", "ml": "milliliter millilitre", "cl": "centiliter centilitre",
    "l": "liter litre", "gal": "gallon", "s": "second sec secs", "ms": "millisecond", "min": "minute mins",
    "h": "hour hr hrs", "d": "day", "wk": "week", "mo": "month", "yr": "year yrs",
    "°": "degree deg", "°c": "celsius centigrade", "°f": "fahrenheit", "k": "kelvin", "rad": "radian",
    "%": "percent percentage pct", "$": "dollar usd buck", "€": "euro eur", "£": "gbp sterling",
    "¥": "yen yuan rmb cny jpy 元", "₹": "rupee rs inr", "¢": "cent", "n": "newton", "j": "joule",
    "kj": "kilojoule", "w": "watt", "kw": "kilowatt", "v": "volt", "a": "ampere amp", "ω": "ohm Ω",
    "hz": "hertz", "khz": "kilohertz", "pa": "pascal", "kpa": "kilopascal", "mol": "mole",
    "atm": "atmosphere", "ev": "electronvolt", "cal": "calorie", "kcal": "kilocalorie",
}  # fmt: skip
_CANONICAL = {
    spelling: symbol for symbol, spellings in _SPELLINGS.items() for spelling in (symbol, *spellings.split())
}
_COMPOUNDS = {"kmh": "km/h", "kph": "km/h", "kmph": "km/h", "mph": "mi/h", "mps": "m/s", "fps": "ft/s"}
_CASED = {
    "MW": "megawatt", "mW": "milliwatt", "MB": "megabyte", "Mb": "megabit", "MHz": "megahertz", "M": "molar",
    "MJ": "megajoule", "mJ": "millijoule", "MPa": "megapascal", "C": "coulomb",
}  # fmt: skip
_POWERS = {"square": "^2", "squared": "^2", "sq": "^2", "cubic": "^3", "cubed": "^3", "cu": "^3"}
_FILLER_WORDS = (
    "long tall wide high deep old away total altogether left each all only approximately about exactly the "
    "of us approx remaining more there are is"
)
_FILLERS = frozenset(_FILLER_WORDS.split())
_GENERIC = frozenset({"", "unit", "unit^2", "unit^3"})
_SCALES = {"°": "°", "c": "°c", "°c": "°c", "coulomb": "°c", "f": "°f", "°f": "°f"}
_TOKEN = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|[/·*]|\^\s*\{?\s*(-?\d)\s*\}?|\d|[°%$€£¥₹¢]")


@lru_cache(maxsize=4096)
def canonical_unit(phrase: str) -> str:
    """The unit that a phrase after (or before) a number names; empty for none and for the generic "units"."""
    if not phrase:
        return ""
    tokens = [_token(match) for match in _TOKEN.finditer(phrase.replace("per cent", "percent"))]
    words = _words_joined([token for token in tokens if token])
    unit = "".join(words) if any(mark in words for mark in "/·") else " ".join(words)
    return "" if unit in _GENERIC else unit


def is_measure(unit: str) -> bool:
    """Whether a canonical unit is made of known units only (as `km/h` is, and `red apple` is not)."""
    parts = re.sub(r"\^-?\d", "", unit).replace("·", "/").split("/")
    return all(part in _SPELLINGS or part in _CASED.values() for part in parts)


def units_agree(gold: str, given: str) -> bool:
    """No unit given agrees with any; a counted noun agrees where the given phrase contains it."""
    if not gold or not given or gold == given:
        return True
    if (gold, given) == ("£", "lb"):
        return True
    if given == "°" and gold in ("°c", "°f"):
        return True
    return not is_measure(gold) and set(gold.split()) <= set(given.split())


def _token(match: re.Match[str]) -> str:
    token = match[0]
    if match[1]:
        return f"^{match[1]}"
    if token.isdigit():
        return f"^{token}"
    if token in _CASED:
        return _CASED[token]
    word = token.casefold() if token != "Ω" else "ω"
    if word == "per":
        return "/"
    if word == "*":
        return "·"
    return _COMPOUNDS.get(word) or _POWERS.get(word) or _CANONICAL.get(word) or _singular(word)


def _singular(word: str) -> str:
    for ending, singular in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh")):
        if word.endswith(ending):
            return _CANONICAL.get(word[: -len(ending)] + singular, word[: -len(ending)] + singular)
    if word.endswith("s") and not word.endswith("ss") and len(word) > 2:
        return _CANONICAL.get(word[:-1], word[:-1])
    return word


def _words_joined(tokens: list[str]) -> list[str]:
    """Powers stand behind their unit ("square cm" and "cm squared" alike); fillers are dropped."""
    words: list[str] = []
    waiting = ""
    for position, token in enumerate(tokens):
        following = tokens[position + 1] if position + 1 < len(tokens) else ""
        if token[0] == "^":
            if words and words[-1] not in "/·":
                words[-1] += token
            else:
                waiting = token
        elif words and words[-1] == "°" and token in _SCALES:
            words[-1] = _SCALES[token]
        elif token == "in" and (not following or following[0] in "^/·"):
            words.append("inch" + waiting)
        elif token != "in" and token not in _FILLERS:
            words.append(token + waiting)
            waiting = ""
    return words
