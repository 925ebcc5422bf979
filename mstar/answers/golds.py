"""Gold answers as comparisons use them, and which are refused.

A gold is refused only where no response could be judged by it: ValueError with value, rule and remedy.
"""

from dataclasses import replace
from functools import lru_cache

from mstar.answers import expressions, lists
from mstar.answers.booleans import read_boolean
from mstar.answers.choices import Named, named_choice, read_contents, read_letters
from mstar.answers.cleaning import MAX_ANSWER_CHARACTERS, clean, normalize_text
from mstar.answers.expected import ANSWER_TYPES, Expected
from mstar.answers.quantities import MAX_PRECISION, Quantity, parse_quantity
from mstar.answers.units import read_unit

Gold = Named | bool | str | Quantity | lists.Items | expressions.Expression
"""A choice is the set of places that hold its content; a text, or a choice of several letters, is a str."""

RULES = {
    "choice": ("is no letter, and no choices are listed", "write a letter, or list the choices"),
    "number": ("is not one number", "write digits such as 12, 3.14 or 3/4, or use answer_type expression"),
    "boolean": ("is neither yes nor no", "write yes, no, true or false, or use answer_type text"),
    "text": ("has no letter, digit or sign", "write words, or use another answer_type"),
    "list": ("has no items, or an empty one", "write items between commas, such as [1, 2]"),
    "expression": ("is prose, not an expression", "write a formula, or use answer_type text"),
}
"""What is wrong with a gold that is no answer of its type, and the remedy."""


@lru_cache(maxsize=8192)
def read_golds(expected: Expected) -> tuple[Gold, ...]:
    """The accepted golds in the form that comparisons use. ValueError names value, rule and remedy."""
    if expected.answer_type not in ANSWER_TYPES:
        raise ValueError(f"answer_type is {expected.answer_type!r}; write one of {', '.join(ANSWER_TYPES)}")
    if expected.precision is not None and not 0 <= expected.precision <= MAX_PRECISION:
        raise ValueError(f"precision is {expected.precision}; it must be in 0..{MAX_PRECISION}, or none")
    return tuple(_read_gold(expected, answer) for answer in expected.answers)


def _read_gold(expected: Expected, written: str) -> Gold:
    answer = clean(written[: MAX_ANSWER_CHARACTERS + 1])
    if not answer:
        raise _bad(expected, written, "is empty", "write the answer, or leave the problem unlabelled")
    if len(written) > MAX_ANSWER_CHARACTERS:
        raise _bad(expected, written, f"is longer than {MAX_ANSWER_CHARACTERS} characters", "shorten it")
    match expected.answer_type:
        case "choice":
            gold: Gold | None = _gold_choice(expected, answer)
        case "number":
            gold = _gold_number(expected, written, answer)
        case "boolean":
            gold = read_boolean(answer)
        case "text":
            gold = normalize_text(answer) and answer or None
        case "list":
            gold = lists.read_items(answer)
        case "expression":
            gold = _gold_expression(expected, answer)
    if gold is None:
        raise _bad(expected, written, *RULES[expected.answer_type])
    return gold


def _bad(expected: Expected, written: str, rule: str, remedy: str) -> ValueError:
    shown = written if len(written) <= 80 else written[:77] + "..."
    return ValueError(f"answer {shown!r} of type {expected.answer_type} {rule}; {remedy}")


def _gold_choice(expected: Expected, answer: str) -> Named | str | None:
    for position, content in enumerate(read_contents(expected.choices), start=1):
        if not content.spelling:
            raise ValueError(f"choice {position} is empty; every choice must have a content; fill or drop it")
    if len(expected.choices) > 26:
        raise ValueError(f"choices are {len(expected.choices)}; there are 26 letters; list at most 26")
    gold = named_choice(answer, expected.choices) or read_letters(answer, expected.choices) or None
    if gold is None and expected.choices:
        last = chr(64 + len(expected.choices))
        rule = f"is neither a letter from A to {last} nor the content of a choice"
        raise _bad(expected, answer, rule, "correct one of them")
    return gold


def _gold_number(expected: Expected, written: str, answer: str) -> Quantity | None:
    quantity = parse_quantity(answer, sentence=False)
    if quantity is None or not expected.unit:
        return quantity
    unit = unit_of(expected)
    if unit and quantity.unit and unit != quantity.unit:
        rule = f"has another unit than the unit {expected.unit!r}"
        raise _bad(expected, written, rule, "write the unit once")
    return quantity._replace(unit=unit) if unit else quantity


def unit_of(expected: Expected) -> str:
    """The unit field in its canonical spelling; one that the grammar does not know stays as it is written."""
    written = clean(expected.unit or "") or (expected.unit or "").strip()
    known = read_unit(written)
    return written.casefold() if known is None else known


def _gold_expression(expected: Expected, answer: str) -> expressions.Expression | None:
    if not expressions.is_formula(answer):
        return None
    gold = expressions.read_expression(answer)
    if not expected.unit or gold.unit:
        return gold
    unit = unit_of(expected)
    return replace(gold, unit=unit, quantity=gold.quantity and gold.quantity._replace(unit=unit))
