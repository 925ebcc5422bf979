r"""Numbers as people write them: one exact value, how precisely it is stated, and its unit.

Read: 1,234,567 and 1 234 567 (groups of exactly three), 3/4, \frac{3}{4}, 1 1/2, 1.2e3, 1.2 × 10^3, -5, +5,
"minus 5", number words ("one hundred twenty-five", "two thirds", "two and a half"), "1.2 million", $12, 12 cm,
50%, 30°, "x = 12", "8 + 6 = 14", "about 12", "the area is 12 cm^2", and what `arithmetic` evaluates where a power,
root, factorial or π is in it (2^4, 2√3, 4π cm). Refused: a decimal comma (1,5), infinities, exponents beyond 300,
ranges, bounds ("at least 3"), uncertainty ("maybe 4"), ordinals, sums that are not carried out (8+6), and a
number with anything behind it that is no unit (12x). Values are `Fraction`s: nothing is a float.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from mstar.answers.arithmetic import value_of
from mstar.answers.numerals import SCALES, numeral_before
from mstar.answers.units import is_measure, read_unit

MAX_EXPONENT = 300


class Quantity(NamedTuple):
    """`decimals` counts the digits after the point, None for a fraction; `unit` is canonical, "" for none."""

    value: Fraction
    decimals: int | None
    significant_digits: int
    unit: str
    scale: int = 1


_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d{1,3}(?:[ ]\d{3})+(?![ ]?\d)|\d+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d+|\.(?!\d))?|\.\d+)"
_LATEX_FRACTION = re.compile(
    r"\\frac\s*(?:\{\s*([-+\d.,\s]{1,60})\}\s*\{\s*([-+\d.,\s]{1,60})\}|(\d)\s?(\d)(?!\d)|(\d)\s?\{\s*(\d+)\s*\}"
    r"|\{\s*(\d+)\s*\}\s?(\d))"
)
_CURRENCY = r"(?:US\s?\$|USD|[$€£¥₹]|Rs\.?)"
_CORE = re.compile(
    rf"""(?P<sign>[-+]|minus\s|negative\s)?\s*(?P<currency>{_CURRENCY})?\s*(?P<inner_sign>[-+])?\s*
    (?:(?P<mixed>\d+)\s+(?P<over>\d+)\s*/\s*(?P<under>\d+)
     | \(?(?P<numerator>{_DECIMAL})\)?\s*/\s*\(?(?P<denominator>[-+]?{_DECIMAL})\)?
     | (?P<decimal>{_DECIMAL})(?:\.\.\.*)?
       (?:[eE](?P<exponent>[-+]?\d+)|\s*[×x·*]\s*10\s*(?:\^|\*\*)\s*\{{?\s*\(?(?P<power>[-+]?\s?\d+)\)?\s*\}}?)?
     | (?P<words>[A-Za-z][A-Za-z -]*))""",
    re.VERBOSE | re.IGNORECASE,
)
_POWER_OF_TEN = re.compile(r"([-+]?)10\s*\^\s*\{?\s*([-+]?\d+)\s*\}?")
_SIMPLE = re.compile(
    r"(?P<number>[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)(?P<tail>[ ]?[A-Za-z%°][A-Za-z ]{0,30})?"
)
_TAIL = re.compile(
    r"\s*(?P<scale>(?:hundred|thousand|million|billion|trillion)\b)?\s*"
    r"(?P<unit>(?:[^\W\d_]|[\s%°$€£¥₹/·*'.-]|\^\s?\{?-?\d\}?|(?<=[a-z])[23](?!\w)){0,60})",
    re.IGNORECASE,
)
_UNIT_IN_PARENTHESES = re.compile(r"(?<=[\w%}])\s*\((?![A-Z]\))([^()\d]{1,40}(?:\^\{?[23]\}?)?)\)$")
_APPROXIMATELY = re.compile(
    r"(?:approximately|approx\.?|about|around|roughly|nearly|almost|≈|~|exactly|just|only|a total of|total)\s*",
    re.I,
)
_LEAD = re.compile(
    r"(?P<lead>[^=≈\d]{0,120}(?:\b(?:is|are|was|were|be|equals|has|have|had|costs?|needs?|contains|takes|gets|left"
    r"|makes|shows)\b|:|\b(?:in|year)(?=\s\d{4}$)))\s*",
    re.IGNORECASE,
)
_UNSURE_LEAD = re.compile(
    r"\b(?:not|or|either|maybe|perhaps|possibly|probably|never|cannot|could|might|may|at least|at most|unknown|unsure"
    r"|neither|if|unless|but|versus|vs)\b|n't\b",
    re.IGNORECASE,
)
_UNIT_LETTERS = frozenset("mgshlLtNJWVAKCFΩ%°$€£¥₹")
_FORMULA = re.compile(r"[√π^!]|\\(?:sqrt|pi)(?![A-Za-z])|(?<![A-Za-z\\])(?:pi|sqrt)(?![A-Za-z])")
_UNKNOWN = re.compile(r"[∠△]?\s?[^\W\d_]{1,4}(?:_?\{?\w\}?)?")
_PI = re.compile(r"\\pi(?![A-Za-z])|(?<![A-Za-z\\])pi(?![A-Za-z])")
_UNIT_BEHIND = re.compile(
    r"(?<=[\d)}\]π!])\s*((?!π)[^\W\d_][^\d(){}\[\]=+√π\\]{0,40}(?:\^\{?\d\}?|[23])?|[°%])$"
)


def parse_quantity(statement: str, *, sentence: bool = True) -> Quantity | None:
    """The one number that a cleaned statement consists of, or None.

    With `sentence`, an equation ("8 + 6 = 14": what follows the last equals sign) and a sentence that leads
    up to the number ("the area is 12") are read too.
    """
    simple = _SIMPLE.fullmatch(statement)
    return _simple(*simple.groups()) if simple else _parsed(statement, sentence)


@lru_cache(maxsize=8192)
def _simple(number: str, tail: str | None) -> Quantity | None:
    """The quantity of digits and perhaps a unit: what `_parsed` gives, without its patterns."""
    scale_and_unit = _tail(tail) if tail else (1, "")
    if scale_and_unit is None:
        return formula_quantity(f"{number}{tail}")
    scale, unit = scale_and_unit
    number = number.replace(",", "")
    whole, point, decimals = number.partition(".")
    value = Fraction(int(whole + decimals), 10 ** len(decimals)) if point else Fraction(int(whole))
    return Quantity(value, len(decimals), _significant(number), unit, scale)


@lru_cache(maxsize=4096)
def _parsed(statement: str, sentence: bool) -> Quantity | None:
    plain = _LATEX_FRACTION.sub(_plain_fraction, statement).strip()
    if not plain or "∞" in plain or "\\infty" in plain:
        return None
    if sentence:
        found = _after_equals(plain)
        if found is None:
            return None
        plain = found
    plain = _UNIT_IN_PARENTHESES.sub(r" \1", plain)
    quantity = _bare_quantity(plain) or formula_quantity(plain)
    return quantity or (_after_lead(plain) if sentence else None)


def formula_quantity(statement: str) -> Quantity | None:
    """The quantity of a formula with a power, root, factorial or π, and perhaps a unit behind it."""
    if len(statement) > 200 or is_carried_out(statement):
        return None
    formula, unit = split_unit(_APPROXIMATELY.sub("", statement, count=1))
    value = value_of(formula)
    return None if value is None else Quantity(value, None, 0, unit)


def is_carried_out(statement: str) -> bool:
    """Whether there is no power, root, factorial or π in a statement."""
    return _FORMULA.search(statement) is None


def split_unit(statement: str) -> tuple[str, str]:
    """A formula and the canonical unit behind it, "" for none: only known units stand behind formulas."""
    statement = _PI.sub("π", statement)
    match = _UNIT_BEHIND.search(statement)
    if match and (len(match[1]) > 1 or match[1] in _UNIT_LETTERS):
        unit = read_unit(match[1])
        if unit is not None and (not unit or is_measure(unit)):
            return statement[: match.start()].strip(), unit
    return statement, ""


def _plain_fraction(match: re.Match[str]) -> str:
    return f" {match[1] or match[3] or match[5] or match[7]}/{match[2] or match[4] or match[6] or match[8]}"


def _significant(number: str) -> int:
    return len(number.lstrip("+-").replace(".", "").replace(",", "").replace(" ", "").lstrip("0"))


def _after_equals(statement: str) -> str | None:
    """What follows the last equals sign; None where what precedes it offers alternatives."""
    before, equals, after = statement.rpartition("=")
    if not equals:
        unknown, about, value = statement.rpartition("≈")
        return value.strip() if about and _UNKNOWN.fullmatch(unknown.strip()) else statement
    alternatives = re.search(r"[,;<>≠≤≥!]|\b(?:or|and|not)\b", before)
    return None if alternatives or not before.strip() else after.strip()


def _after_lead(statement: str) -> Quantity | None:
    lead = _LEAD.match(statement)
    if lead is None or _UNSURE_LEAD.search(lead["lead"]):
        return None
    rest = statement[lead.end() :].strip()
    return _bare_quantity(rest) or formula_quantity(rest)


def _bare_quantity(statement: str) -> Quantity | None:
    approximately = _APPROXIMATELY.match(statement)
    if approximately:
        statement = statement[approximately.end() :]
    statement = _outer_brackets_removed(statement)
    match = _POWER_OF_TEN.match(statement) or _CORE.match(statement)
    if match is None:
        return None
    number = _number(match)
    if number is None:
        return None
    value, decimals, digits, end = number
    tail = _tail(statement[end:])
    if tail is None:
        return None
    scale, unit = tail
    currency = match.groupdict().get("currency")
    if currency:
        if unit and read_unit(currency) != unit and unit in ("%", "°"):
            return None
        unit = "$" if "$" in currency or currency.upper() == "USD" else read_unit(currency) or ""
    return Quantity(value, decimals, digits, unit, scale)


def _outer_brackets_removed(statement: str) -> str:
    inner = statement[1:-1]
    enclosed = statement[:1] + statement[-1:] in ("()", "[]", "{}")
    return inner.strip() if enclosed and not re.search(r"[()\[\]{}]", inner) else statement


def _number(match: re.Match[str]) -> tuple[Fraction, int | None, int, int] | None:
    """Value, decimals (None for a fraction), significant digits and end of a match; None for one refused."""
    groups = match.groupdict()
    if not groups:
        found = _scientific(match[1] + "1", match[2])
        return (*found, match.end()) if found else None
    magnitude, end = _magnitude(groups), match.end()
    if groups["words"]:
        numeral = numeral_before(groups["words"].lower())
        magnitude = numeral and numeral[:3]
        end = match.start("words") + (numeral[3] if numeral else 0)
    if magnitude is None or (groups["sign"] and groups["inner_sign"]):
        return None
    value, decimals, digits = magnitude
    negative = (groups["sign"] or groups["inner_sign"] or "").strip().lower() in ("-", "minus", "negative")
    return (-value if negative else value), decimals, digits, end


def _magnitude(groups: dict[str, str | None]) -> tuple[Fraction, int | None, int] | None:
    if groups["decimal"]:
        exponent = groups["exponent"] or groups["power"] or "0"
        return _scientific(groups["decimal"], exponent.replace(" ", ""))
    numerator = _exact(groups["over"] or groups["numerator"] or "0")
    denominator = _exact(groups["under"] or groups["denominator"] or "0")
    if not denominator:
        return None
    return int(groups["mixed"] or 0) + numerator / denominator, None, 0


def _scientific(decimal: str, exponent: str) -> tuple[Fraction, int | None, int] | None:
    if len(exponent) > 5 or abs(int(exponent)) > MAX_EXPONENT:
        return None
    plain = decimal.replace(",", "").replace(" ", "").rstrip(".")
    shift = int(exponent)
    decimals = max(len(plain.partition(".")[2]) - shift, 0)
    return _exact(plain) * Fraction(10) ** shift, decimals, _significant(plain)


def _exact(number: str) -> Fraction:
    return Fraction(Decimal(number.replace(",", "").replace(" ", "")))


@lru_cache(maxsize=4096)
def _tail(text: str) -> tuple[int, str] | None:
    """Scale word and unit behind a number; None where something else stands there."""
    if not text.strip():
        return 1, ""
    tail = _TAIL.fullmatch(text)
    if tail is None:
        return None
    phrase = tail["unit"].strip(" -.")
    if phrase and tail["unit"][0] == "-":
        return None
    if len(phrase) == 1 and phrase.isascii() and phrase not in _UNIT_LETTERS:
        return None
    unit = read_unit(phrase)
    return None if unit is None else (SCALES[tail["scale"].lower()] if tail["scale"] else 1, unit)
