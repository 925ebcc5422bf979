"""When a stated number is the expected one: rounding, percent, scale words and units.

`quantities_agree` is the rule. `plain_numbers_agree` is the same rule for the commonest case, two numbers of
digits alone, in integers and without a `Quantity`.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

from mstar.answers.quantities import Quantity
from mstar.answers.units import is_measure, units_agree

MAX_PRECISION = 30

_PLAIN = re.compile(r"([-+]?\d{1,30})(?:\.(\d{1,30}))?")


def quantities_agree(gold: Quantity, answer: Quantity, precision: int | None = None) -> bool:
    """Whether an answer states the gold's value, in the gold's unit or in none.

    - Rounding: with `precision` (or, for a gold with a decimal point, the decimals that it shows) an answer
      may differ by half a unit of that decimal place from the gold as rounded to it.
    - A whole gold without precision is exact: 3.0 is 3, 3.2 is not. A fraction is exact too, but a decimal
      answer of at least 3 significant digits may be its rounding (1/3: 0.333 yes, 0.33 no).
    - Percent: a gold in % accepts 50%, 50 and 0.5. A gold without it accepts p% for p/100 and, as golds
      often leave the sign out, for p where p is at least 1 (50: 50%; 0.5: 50%, not 0.5%).
    - Scale words multiply: "1.2 million" is 1,200,000; a gold "1.2 million" also accepts "1.2".
    """
    if gold is answer:
        return True
    if gold.unit == "%" or answer.unit == "%":
        return _percents_agree(gold, answer, precision)
    if not units_agree(gold.unit, answer.unit):
        return False
    return _values_agree(gold, answer, precision)


def _percents_agree(gold: Quantity, answer: Quantity, precision: int | None) -> bool:
    as_share = answer._replace(value=answer.value / 100, decimals=_shifted(answer.decimals, 2))
    if gold.unit != "%":
        as_stated = abs(answer.value) >= 1 and _values_agree(gold, answer, precision)
        return (not gold.unit or not is_measure(gold.unit)) and (
            as_stated or _values_agree(gold, as_share, precision)
        )
    if answer.unit not in ("%", ""):
        return False
    as_percent = answer._replace(value=answer.value * 100, decimals=_shifted(answer.decimals, -2))
    return _values_agree(gold, answer, precision) or (
        not answer.unit and _values_agree(gold, as_percent, precision)
    )


def _shifted(decimals: int | None, shift: int) -> int | None:
    return None if decimals is None else max(decimals + shift, 0)


def _values_agree(gold: Quantity, answer: Quantity, precision: int | None) -> bool:
    if gold.scale == answer.scale:
        return _rounds_to(gold, answer, precision)
    scaled = answer._replace(value=answer.value * answer.scale)
    if _rounds_to(gold._replace(value=gold.value * gold.scale), scaled, precision):
        return True
    return answer.scale == 1 and _rounds_to(gold, answer, precision)


def _rounds_to(gold: Quantity, answer: Quantity, precision: int | None) -> bool:
    if gold.value == answer.value:
        return True
    decimals = gold.decimals if precision is None else precision
    if decimals is None:
        return bool(
            answer.decimals
            and answer.significant_digits >= 3
            and abs(answer.value - gold.value) <= Fraction(1, 2 * 10**answer.decimals)
        )
    if decimals == 0 and precision is None:
        return False
    return abs(answer.value - _rounded(gold, decimals)) <= Fraction(1, 2 * 10**decimals)


def plain_numbers_agree(gold: str, answer: str, precision: int | None) -> bool | None:
    """`quantities_agree` for two numbers of digits alone, in integers; None if either is another."""
    left, right = _PLAIN.fullmatch(gold), _PLAIN.fullmatch(answer)
    if left is None or right is None:
        return None
    shown, given = len(left[2] or ""), len(right[2] or "")
    if precision is not None and not shown <= precision <= MAX_PRECISION:
        return None
    decimals = max(shown, given, precision or 0)
    wanted = int(left[1] + (left[2] or "")) * int(10 ** (decimals - shown))
    stated = int(right[1] + (right[2] or "")) * int(10 ** (decimals - given))
    if precision is None and not shown:
        return wanted == stated
    return 2 * abs(stated - wanted) <= int(10 ** (decimals - (shown if precision is None else precision)))


def _rounded(gold: Quantity, decimals: int) -> Fraction:
    """The gold's value at so many decimals; half a unit away from zero rounds up."""
    if gold.decimals is not None and gold.decimals <= decimals:
        return gold.value
    rounded = Fraction(math.floor(abs(gold.value) * 10**decimals + Fraction(1, 2)), 10**decimals)
    return rounded if gold.value >= 0 else -rounded
