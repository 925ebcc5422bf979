"""When a stated number is the expected one: rounding, percent, scale words and units."""

from __future__ import annotations

import math
from fractions import Fraction

from mstar.answers.quantities import Quantity
from mstar.answers.units import conversion, is_measure

MAX_PRECISION = 30


def quantities_agree(gold: Quantity, answer: Quantity, precision: int | None = None) -> bool:
    """Whether an answer states the gold's value, in the gold's unit, in another of its kind, or in none.

    - Rounding: with `precision` (or, for a gold with a decimal point, the decimals that it shows) an answer
      may differ by half a unit of that decimal place from the gold as rounded to it.
    - A whole gold without precision is exact: 3.0 is 3, 3.2 is not. A fraction, root or multiple of π is exact
      too, but a decimal of at least 3 significant digits may be its rounding (1/3: 0.333 yes, 0.33 no).
    - Percent: a gold in % accepts 50%, 50 and 0.5. A gold without it accepts p% for p/100 and, as golds
      often leave the sign out, for p where p is at least 1 (50: 50%; 0.5: 50%, not 0.5%).
    - Scale words multiply: "1.2 million" is 1,200,000; a gold "1.2 million" also accepts "1.2".
    """
    if gold is answer:
        return True
    if gold.unit == "%" or answer.unit == "%":
        return _percents_agree(gold, answer, precision)
    factor = conversion(gold.unit, answer.unit)
    if factor is None:
        return False
    if factor != 1:
        answer = answer._replace(value=answer.value * factor, decimals=None)
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


def _rounded(gold: Quantity, decimals: int) -> Fraction:
    """The gold's value at so many decimals; half a unit away from zero rounds up."""
    if gold.decimals is not None and gold.decimals <= decimals:
        return gold.value
    rounded = Fraction(math.floor(abs(gold.value) * 10**decimals + Fraction(1, 2)), 10**decimals)
    return rounded if gold.value >= 0 else -rounded
