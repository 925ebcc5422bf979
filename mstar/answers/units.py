"""The units that may stand behind (or before) a number: a closed grammar, their spellings and conversions.

A unit is a product of known units (`km/h`, `cm^2`, "square centimeters"), or up to three plain words that
name what is counted ("apples", "red apples", 个). Words of grammar, number words, powers and signs of
mathematics are no units: what ends in them is no quantity. Units of one kind convert (140 mm is 14 cm);
temperatures and currencies never do, and neither do months into days or litres into cubes.
"""

import re
from collections import Counter
from fractions import Fraction
from functools import lru_cache

from mstar.answers.numerals import NUMBER_WORDS

_SPELLINGS: dict[str, str] = {
    "mm": "millimeter millimetre 毫米", "cm": "centimeter centimetre cms 厘米 公分",
    "dm": "decimeter decimetre 分米", "m": "meter metre mtr 米", "km": "kilometer kilometre kms 千米 公里",
    "inch": "inches 英寸", "ft": "foot feet 英尺", "yd": "yard", "mi": "mile 英里",
    "nm": "nanometer nanometre 纳米", "µm": "μm um micrometer micrometre micron 微米",
    "mg": "milligram 毫克", "g": "gram gramme gm gms 克", "kg": "kilogram kgs kilo 千克 公斤",
    "t": "ton tonne 吨", "lb": "pound lbs", "oz": "ounce", "ml": "milliliter millilitre 毫升",
    "cl": "centiliter centilitre", "l": "liter litre 升", "gal": "gallon", "s": "second sec secs 秒",
    "ms": "millisecond 毫秒", "min": "minute mins 分钟", "h": "hour hr hrs 小时", "d": "day 天",
    "wk": "week 周", "mo": "month 个月 月", "yr": "year yrs 年 岁", "°": "degree deg 度",
    "°c": "celsius centigrade 摄氏度", "°f": "fahrenheit", "k": "kelvin", "rad": "radian 弧度",
    "%": "percent percentage pct", "$": "dollar usd buck 美元", "€": "euro eur 欧元",
    "£": "gbp sterling 英镑", "¥": "yen yuan rmb cny jpy 元", "₹": "rupee rs inr", "¢": "cent",
    "n": "newton 牛", "j": "joule 焦", "kj": "kilojoule", "w": "watt 瓦", "kw": "kilowatt", "v": "volt 伏",
    "a": "ampere amp 安", "ω": "ohm Ω", "hz": "hertz 赫兹", "khz": "kilohertz", "pa": "pascal",
    "kpa": "kilopascal", "mol": "mole 摩尔", "atm": "atmosphere", "ev": "electronvolt", "cal": "calorie",
    "kcal": "kilocalorie", "海里": "nmi",
}  # fmt: skip
_CANONICAL = {
    spelling: symbol for symbol, spellings in _SPELLINGS.items() for spelling in (symbol, *spellings.split())
}
_CASED = {
    "MW": "megawatt", "mW": "milliwatt", "MB": "megabyte", "Mb": "megabit", "MHz": "megahertz", "M": "molar",
    "MJ": "megajoule", "mJ": "millijoule", "MPa": "megapascal", "C": "coulomb",
}  # fmt: skip
_COMPOUNDS = {"kmh": "km/h", "kph": "km/h", "kmph": "km/h", "mph": "mi/h", "mps": "m/s", "fps": "ft/s"}
_POWERS = {"square": "^2", "squared": "^2", "sq": "^2", "cubic": "^3", "cubed": "^3", "cu": "^3",
           "平方": "^2", "立方": "^3"}  # fmt: skip
_KINDS: dict[str, str] = {
    "length": "nm=1/1000000000 µm=1/1000000 mm=1/1000 cm=1/100 dm=1/10 m=1 km=1000 inch=0.0254 ft=0.3048"
    " yd=0.9144 mi=1609.344 海里=1852",
    "mass": "mg=1/1000 g=1 kg=1000 t=1000000 oz=28.349523125 lb=453.59237",
    "time": "ms=1/1000 s=1 min=60 h=3600 d=86400 wk=604800", "volume": "ml=1/1000 cl=1/100 l=1",
    "months": "mo=1 yr=12", "energy": "j=1 kj=1000 megajoule=1000000", "heat": "cal=1 kcal=1000",
    "power": "milliwatt=1/1000 w=1 kw=1000 megawatt=1000000",
    "pressure": "pa=1 kpa=1000 megapascal=1000000", "money": "¢=1/100 $=1",
    "frequency": "hz=1 khz=1000 megahertz=1000000",
}  # fmt: skip
_FACTORS = {
    name: (kind, Fraction(factor))
    for kind, units in _KINDS.items()
    for name, factor in (unit.split("=") for unit in units.split())
}
_FILLERS_TEXT = (
    "long tall wide high deep old away total altogether in all only approximately about exactly the of us "
    "approx remaining more there are is each left together"
)
_FILLERS = frozenset(_FILLERS_TEXT.split())
_GENERIC = frozenset({"", "unit", "unit^2", "unit^3", "单位"})
_SCALES = {"°": "°", "c": "°c", "°c": "°c", "coulomb": "°c", "f": "°f", "°f": "°f"}
_COUNTERS = frozenset(
    "个只人张本支条块名位辆台件次种棵朵头匹把双对盒箱袋杯瓶页题道组层倍步分点号颗根间座艘架"
)
_NO_NOUNS_TEXT = (
    "dozen plus minus divided over root pi sqrt factorial power exponent thousandth hundredth a an and or "
    "not but if to per by with without from for as at on than that this these those it its he she they we "
    "you was were be been being has have had do does did can could may might must should will would "
    "either neither maybe perhaps possibly probably between never cannot less least most under below "
    "above fewer greater within unknown unsure unless versus vs except because since so then when where "
    "which who what no yes true false wrong right correct incorrect wait guess mod actually hmm sorry "
    "rather instead also too very small large big high low before after until during max maximum "
    "minimum ish st nd rd th"
)
_NO_NOUNS = NUMBER_WORDS.union(_NO_NOUNS_TEXT.split())
_POINT = re.compile(r"(?<=[A-Za-z])\.(?![A-Za-z]{2})")
_NOUN = re.compile(r"[a-zß-ɏ]{3,20}|o'clock|[ap]m|tv|cd|ox")
_TOKEN = re.compile(
    r"[一-鿿]+|[^\W\d_一-鿿]+(?:'[^\W\d_]+)?|[/·*]|\^\s*\{?\s*(-?\d)\s*\}?|(?<=[a-z])[23](?!\w)"
    r"|[°%$€£¥₹¢]|(?P<other>\S)"
)
_POWER = re.compile(r"\^(-?\d)$")


@lru_cache(maxsize=4096)
def read_unit(phrase: str) -> str | None:
    """The canonical unit that a phrase names, "" for none and for the generic "units"; None for no unit."""
    matches = list(_TOKEN.finditer(_POINT.sub("", phrase.replace("per cent", "percent")).strip(" -")))
    if any(match["other"] for match in matches):
        return None
    words = _words_joined([token for match in matches for token in _tokens(match)])
    unit = "".join(words) if any(mark in words for mark in "/·") else " ".join(words)
    if unit in _GENERIC or is_measure(unit):
        return "" if unit in _GENERIC else unit
    names = [_POWER.sub("", word) for word in words if word not in "/·"]
    return unit if 1 <= len(names) <= 3 and all(map(_is_noun, names)) else None


def is_measure(unit: str) -> bool:
    """Whether a canonical unit is made of known units only (as `km/h` is, and `red apple` is not)."""
    parts = _parts(unit.removeprefix("/"))
    return all(part in _SPELLINGS or part in _CASED.values() for part, _ in parts)


def conversion(gold: str, given: str) -> Fraction | None:
    """What a value in the `given` unit is multiplied with to be in the `gold` unit; None where they disagree.

    No unit agrees with any; a counted noun agrees where the given phrase contains it.
    """
    if not gold or not given or gold == given or (gold, given) in (("£", "lb"), ("°c", "°"), ("°f", "°")):
        return Fraction(1)
    wanted, stated = _dimension(gold), _dimension(given)
    if wanted and stated and wanted[0] == stated[0]:
        return stated[1] / wanted[1]
    is_part = not is_measure(gold) and set(gold.split()) <= set(given.split())
    return Fraction(1) if is_part else None


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
    return word in _SPELLINGS or (word not in _NO_NOUNS and _NOUN.fullmatch(word) is not None)


def _tokens(match: re.Match[str]) -> list[str]:
    token = match[0]
    if match[1]:
        return [f"^{match[1]}"]
    if token.isdigit():
        return [f"^{token}"]
    if token in _CASED:
        return [_CASED[token]]
    if token[:2] in ("平方", "立方"):
        return [_POWERS[token[:2]], _CANONICAL.get(token[2:], token[2:] or "unit")]
    word = token.casefold() if token != "Ω" else "ω"
    if word in ("per", "*"):
        return ["/" if word == "per" else "·"]
    return [_COMPOUNDS.get(word) or _POWERS.get(word) or _CANONICAL.get(word) or _singular(word)]


def _singular(word: str) -> str:
    for ending, singular in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh")):
        if word.endswith(ending):
            return _CANONICAL.get(word[: -len(ending)] + singular, word[: -len(ending)] + singular)
    if word.endswith("s") and not word.endswith("ss") and len(word) > 2 and word not in _NO_NOUNS:
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
        elif token not in _FILLERS:
            words.append(token + waiting)
            waiting = ""
    return words if not waiting else [*words, waiting]
