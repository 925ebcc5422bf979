r"""Numbers as people write them (one exact value, how precisely it is stated, its unit), and when two agree.

Read: 1,234, 1 234, \frac{3}{4}, 1 1/2, 1.2 × 10^3, words (`numerals`), "1.2 million", $12, 12 cm, 50%, "about
12", and with a power, root, factorial or π what `arithmetic` evaluates. Refused: a decimal comma (1,5),
exponents beyond 300, ranges, bounds ("at least 3"), ordinals, infinities, sums not carried out (8+6), and
a number before what is no unit (12x). Values are `Fraction`s: nothing is a float.
"""

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from mstar.answers.arithmetic import value_of
from mstar.answers.leads import behind_leads
from mstar.answers.numerals import SCALES, numeral_before
from mstar.answers.patterns import late
from mstar.answers.spelling import spelled
from mstar.answers.units import ONE, conversion, is_measure, read_unit

MAX_EXPONENT, MAX_PRECISION = 300, 30


class Quantity(NamedTuple):
    """`decimals` counts the digits after the point, None for a fraction; `unit` is canonical, "" for none."""

    value: Fraction
    decimals: int | None
    significant_digits: int
    unit: str


_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d{1,3}(?:[ ]\d{3})+(?![ ]?\d)|\d+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d+|\.(?!\d))?|\.\d+)"
_ABOUT = (
    r"(?:(?:大?约|approximately|approx\.?|about|around|roughly|nearly|almost|≈|~|exactly|just|only"
    r"|(?:a )?total(?: of)?)\s*)"
)
_CORE = late(rf"""(?i){_ABOUT}?(?x:
      (?P<sign>[-+]|minus\s|negative\s)?\s*
      (?:US\s?(?=\$))?(?P<currency>USD|[$€£¥₹]|Rs\.?)?\s*(?P<inner_sign>[-+])?\s*
    (?:(?P<mixed>\d+)(?:\s+|\()(?P<over>\d+)\s*/\s*(?P<under>\d+)\)?
     | \(?(?P<numerator>[-+]?{_DECIMAL})\)?\s*/\s*\(?(?P<denominator>[-+]?{_DECIMAL})\)?
     | (?P<decimal>{_DECIMAL})(?:\.\.\.*)?(?:[eE](?P<exponent>[-+]?\d+)
       |\s*[×x·*]\s*10\s*(?:\^|\*\*)\s*[{{(]*\s*(?P<power>[-+]?\s?\d+)\s*[}})]*
       |\s?(?(currency)(?P<thousands>k\b)|(?!)))?
     | (?P<words>[A-Za-z][A-Za-z -]*)))""")
_SEPARATORS = late("[, ]")
_SCALES = SCALES | {"万": 4, "亿": 8}
_TAIL = late(
    rf"(?i)\s*(?P<scale>(?:{'|'.join(SCALES)})\b|[万亿])?\s*"
    r"(?P<unit>(?:[^\W\d_]|[\s%°$€£¥₹¢/·*'.-]|\^\s?\{?-?\d\}?|(?<=[a-z])[23](?!\w)){0,60})"
)
_UNIT_IN_PARENTHESES = late(r"(?<=[\w%}])\s*\((?![A-Z]\))([^()\d]{1,40}(?:\^\{?[23]\}?)?)\)$")
_APPROXIMATELY = late(rf"(?i)\A{_ABOUT}")
_HALF = late(r"(?<=\d) and a half\b")
_YEAR = late(r"(?i)^in (?=\d{4}$)")
_UNIT_LETTERS = frozenset("mgshlLtNJWVAKCFΩ%°$€£¥₹¢")
FORMULA = late(r"[√π^!]|\\(?:sqrt|pi|binom)(?![A-Za-z])|(?<![A-Za-z\\])(?:pi|sqrt)(?![A-Za-z])")
_PI = late(r"\\pi(?![A-Za-z])|(?<![A-Za-z\\])pi(?![A-Za-z])")
_UNIT_BEHIND = late(r"(?<=[\d)}\]π!])\s*((?!π)[^\W\d_][^\d(){}\[\]=+√π\\]{0,40}(?:\^\{?\d\}?|[23])?|[°%])$")


@lru_cache(maxsize=8192)
def parse_quantity(statement: str, *, sentence: bool = True) -> Quantity | None:
    """The one number that a cleaned statement consists of, or None.

    With `sentence`, an equation ("8 + 6 = 14": what follows the last equals sign) and a sentence that leads
    up to the number ("the area is 12") are read too.
    """
    if sentence:
        return next(filter(None, map(_plain_quantity, behind_leads(_YEAR.sub("", statement)))), None)
    return _plain_quantity(statement)


def _plain_quantity(statement: str) -> Quantity | None:
    plain = spelled(statement) if "\\frac" in statement else statement
    plain = _UNIT_IN_PARENTHESES.sub(r" \1", plain.strip())
    return _bare_quantity(plain) or _formula_quantity(plain)


def _formula_quantity(statement: str) -> Quantity | None:
    """The quantity of a formula with a power, root, factorial or π, and perhaps a unit behind it."""
    if len(statement) > 200 or not FORMULA.search(statement):
        return None
    formula, unit = split_unit(_APPROXIMATELY.sub("", statement))
    value = value_of(formula)
    return None if value is None else Quantity(value, None, 0, unit)


def split_unit(statement: str) -> tuple[str, str]:
    """A formula and the canonical unit behind it, "" for none: only known units stand behind formulas."""
    statement = _PI.sub("π", statement)
    match = _UNIT_BEHIND.search(statement)
    if match and (match[1][1:2].isalpha() or match[1][0] in _UNIT_LETTERS):
        unit = read_unit(match[1])
        formula = statement[: match.start()].strip()
        if unit is not None and (not unit or is_measure(unit) or formula[-1:] == "!"):
            return formula, unit
    return statement, ""


def _bare_quantity(statement: str) -> Quantity | None:
    statement = _HALF.sub(" 1/2", statement)
    if statement[:1] + statement[-1:] in ("()", "[]", "{}") and not re.search(r"[()\[\]{}]", statement[1:-1]):
        statement = statement[1:-1].strip()
    match = _CORE.match(statement)
    number = _number(match) if match and not (match["sign"] and match["inner_sign"]) else None
    tail = _tail(statement[number[-1] :]) if number else None
    if match is None or number is None or tail is None or (match["currency"] and tail[1] in ("%", "°")):
        return None
    value, decimals, significant_digits, _ = number
    places, unit = tail
    currency = read_unit(match["currency"] or "")
    is_negative = (match["sign"] or match["inner_sign"] or "+")[0] in "-mMnN"
    factor = 10**places * (-1 if is_negative else 1)
    decimals = None if decimals is None else max(decimals - places, 0)
    return Quantity(value if factor == 1 else value * factor, decimals, significant_digits, currency or unit)


def _number(match: re.Match[str]) -> tuple[Fraction, int | None, int, int] | None:
    """Value, decimals and significant digits of a match of _CORE without its sign, and where it ends."""
    if match["words"]:
        numeral = numeral_before(match["words"].lower())
        return numeral and (numeral[0], None, 0, match.start("words") + numeral[1])
    if not match["decimal"]:
        above = _exact(match["over"] or match["numerator"])
        below = _exact(match["under"] or match["denominator"])
        return (int(match["mixed"] or 0) + above / below, None, 0, match.end()) if below else None
    whole, _, fraction = _SEPARATORS.sub("", match["decimal"]).partition(".")
    exponent = "3" if match["thousands"] else (match["exponent"] or match["power"] or "0").replace(" ", "")
    if len(exponent) > 5 or abs(int(exponent)) > MAX_EXPONENT:
        return None
    digits, decimals = whole + fraction, len(fraction) - int(exponent)
    value = Fraction(int(digits) * 10 ** max(-decimals, 0), 10 ** max(decimals, 0))
    return value, max(decimals, 0), len(digits.lstrip("0")), match.end()


def _exact(number: str) -> Fraction:
    return Fraction(_SEPARATORS.sub("", number))


@lru_cache(maxsize=4096)
def _tail(text: str) -> tuple[int, str] | None:
    """The power of ten and the unit behind a number; None where something else stands there."""
    tail = _TAIL.fullmatch(text)
    if tail is None or tail["unit"][:1] == "-" and tail["unit"].strip(" -."):
        return None
    phrase = tail["unit"].strip(" -.")
    if phrase.startswith("times "):
        return None
    if len(phrase) == 1 and phrase.isascii() and (phrase not in _UNIT_LETTERS or text == "t"):
        return None
    unit = read_unit(phrase)
    return None if unit is None else (_SCALES[tail["scale"].lower()] if tail["scale"] else 0, unit)


def quantities_agree(gold: Quantity, answer: Quantity, precision: int | None = None) -> bool:
    """Whether an answer states the gold's value, in the gold's unit, in another of its kind, or in none.

    - Rounding: with `precision` (or, for a gold with a decimal point, the decimals that it shows) an answer
      must round to the gold as rounded to it; a half may go up, or to the even digit.
    - A whole gold without precision is exact: 3.0 is 3, 3.2 is not. A fraction, root or multiple of π is
      exact too, but a decimal of at least 3 significant digits may be its rounding (1/3: 0.333 yes, 0.33 no).
    - Percent: a gold in % accepts 50%, 50 and 0.5. A gold without it accepts p% for p/100 and, as golds
      often leave the sign out, for p where p is at least 1 (50: 50%; 0.5: 50%, not 0.5%).
    - Scale words multiply: "1.2 million" is 1,200,000.
    """
    return any(_rounds_to(gold, _times(answer, factor), precision) for factor in _factors(gold, answer))


def _factors(gold: Quantity, answer: Quantity) -> list[Fraction]:
    """What the value of an answer may be multiplied with to be in the gold's unit."""
    if gold.unit == "%":
        return {"%": [ONE], "": [ONE, 100 * ONE]}.get(answer.unit, [])
    if answer.unit == "%":
        return [] if is_measure(gold.unit) else [ONE / 100, *[ONE] * (abs(answer.value) >= 1)]
    factor = conversion(gold.unit, answer.unit)
    return [] if factor is None else [factor]


def _times(answer: Quantity, factor: Fraction) -> Quantity:
    if factor is ONE:
        return answer
    decimals = answer.decimals if answer.unit == "%" else None
    return answer._replace(value=answer.value * factor, decimals=None if decimals is None else decimals + 2)


def _rounds_to(gold: Quantity, answer: Quantity, precision: int | None) -> bool:
    if gold.value == answer.value:
        return True
    decimals = gold.decimals if precision is None else precision
    if decimals is None:
        is_decimal = answer.decimals and answer.significant_digits >= 3
        half_a_place = Fraction(1, 2 * 10 ** (answer.decimals or 0))
        return bool(is_decimal) and abs(answer.value - gold.value) <= half_a_place
    if decimals == 0 and precision is None:
        return False
    return _rounded(gold.value, decimals)[0] in _rounded(answer.value, decimals)


def _rounded(value: Fraction, decimals: int) -> tuple[int, int]:
    """The value in units of the last decimal, a half away from zero, and a half to the even digit."""
    away, rest = divmod(2 * abs(value.numerator) * 10**decimals + value.denominator, 2 * value.denominator)
    even = away - (rest == 0 and away % 2)
    return (away, even) if value.numerator >= 0 else (-away, -even)
