"""Compares a stated answer with the gold, by answer type; what needs algebra becomes a `Question`.

- choice, number, boolean: see `choices`, `quantities` and `booleans`. A number that still contains a root
  or π is evaluated by a worker.
- text: `cleaning.normalize_text` on both sides, all of it: no part of a text equals it.
- list: items between commas, or between semicolons where there are any, and "and". Items are compared as
  numbers if both are, else as texts, in order; a gold in braces {} is a set: neither order nor repetition
  matters. In a list a comma always separates: 1,234 is two items, "1,234; 5" two others.
- expression: see `expressions`.

Answers that give several different values are wrong in every type but list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from mstar.answers import expressions, lists
from mstar.answers.agreement import MAX_PRECISION, plain_numbers_agree, quantities_agree
from mstar.answers.booleans import read_boolean
from mstar.answers.choices import Content, named_choice, read_contents
from mstar.answers.cleaning import MAX_ANSWER_CHARACTERS, clauses, clean, normalize_text, without_copula
from mstar.answers.expected import ANSWER_TYPES, AnswerType, Expected
from mstar.answers.quantities import Quantity, parse_quantity
from mstar.answers.units import canonical_unit


@dataclass(frozen=True, slots=True)
class Question:
    """For a worker: are two expressions `equal`, or what is the `value` of the answer (to be settled)."""

    kind: Literal["equal", "value"]
    gold: str
    answer: str


Gold = int | bool | str | Quantity | lists.Items | expressions.Expression


def compare(expected: Expected, statement: str) -> bool | Question:
    """Whether a stated answer is the expected one, or the question that decides. ValueError: bad gold."""
    if expected.answer_type == "number" and not expected.unit:
        agree = plain_numbers_agree(expected.answer, statement, expected.precision)
        if agree is not None:
            return agree
    gold = read_gold(expected)
    answer = clean(statement)
    if not answer or len(answer) > 2 * MAX_ANSWER_CHARACTERS:
        return False
    match expected.answer_type:
        case "choice":
            return named_choice(answer, expected.choices) == gold
        case "number":
            return _compare_number(expected, gold, answer)  # type: ignore[arg-type]
        case "boolean":
            return read_boolean(answer) == gold
        case "text":
            return _equals_text(str(gold), answer)
        case "list":
            return lists.items_agree(gold, answer, expected.precision)  # type: ignore[arg-type]
        case "expression":
            return _compare_expression(gold, answer)  # type: ignore[arg-type]


_VARIABLE = re.compile(r"^[^\W\d_]{1,3}\s*=\s*")


def reads_as(answer_type: AnswerType, line: str, choices: tuple[str, ...] = ()) -> bool:
    """Whether a line is nothing but an answer of the type: no calculation, no sentence."""
    answer = clean(line)
    match answer_type:
        case "choice":
            return named_choice(answer, choices) is not None and "=" not in answer
        case "number":
            value = _VARIABLE.sub("", answer, count=1)
            return parse_quantity(value, sentence=False) is not None or expressions.is_surd(value)
        case "boolean":
            return read_boolean(answer) is not None
        case "text":
            return bool(normalize_text(answer)) and not re.search(r"[;=]", answer)
        case "list":
            return (
                not re.search(r"=|\b(?:is|are|was|were)\b", answer) and lists.read_items(answer) is not None
            )
        case "expression":
            return bool(answer) and expressions.is_formula(answer)


@lru_cache(maxsize=8192)
def read_gold(expected: Expected) -> Gold:
    """The gold in the form that comparisons use. ValueError names the value, the rule and the remedy."""
    answer = clean(expected.answer[: MAX_ANSWER_CHARACTERS + 1])
    if expected.answer_type not in ANSWER_TYPES:
        raise ValueError(
            f"answer_type is {expected.answer_type!r}; it must be one of {', '.join(ANSWER_TYPES)}"
        )
    if not answer:
        raise _bad(expected, "is empty", "write the answer, or leave the problem unlabelled")
    if len(expected.answer) > MAX_ANSWER_CHARACTERS:
        raise _bad(expected, f"is longer than {MAX_ANSWER_CHARACTERS} characters", "shorten it")
    if expected.precision is not None and not 0 <= expected.precision <= MAX_PRECISION:
        raise ValueError(
            f"precision is {expected.precision}; it must be in 0..{MAX_PRECISION} decimals, or none"
        )
    match expected.answer_type:
        case "choice":
            return _gold_choice(expected, answer)
        case "number":
            return _gold_number(expected, answer)
        case "boolean":
            return _gold_boolean(expected, answer)
        case "text":
            text = normalize_text(answer)
            if not text:
                raise _bad(
                    expected, "has no letter, digit or sign", "write words, or use another answer_type"
                )
            return text
        case "list":
            items = lists.read_items(answer, of_gold=True)
            if items is None:
                raise _bad(
                    expected, "has no items, or an empty one", "write items between commas, such as [1, 2]"
                )
            return items
        case "expression":
            return _gold_expression(expected, answer)


def _bad(expected: Expected, rule: str, remedy: str) -> ValueError:
    shown = expected.answer if len(expected.answer) <= 80 else expected.answer[:77] + "..."
    return ValueError(f"answer {shown!r} of type {expected.answer_type} {rule}; {remedy}")


def _gold_choice(expected: Expected, answer: str) -> int:
    contents = read_contents(expected.choices)
    for position, content in enumerate(contents):
        if not content.text:
            raise ValueError(
                f"choice {position + 1} is empty; every choice must have a content; fill or drop it"
            )
        if any(_is_same_choice(content, other) for other in contents[:position]):
            raise ValueError(
                f"choices hold {expected.choices[position]!r} twice; contents must differ; drop one"
            )
    if len(contents) > 26:
        raise ValueError(f"choices are {len(contents)}; there are 26 letters; list at most 26")
    index = named_choice(answer, expected.choices)
    if index is None and expected.choices:
        last = chr(64 + len(expected.choices))
        raise _bad(
            expected,
            f"is neither a letter from A to {last} nor the content of a choice",
            "correct one of them",
        )
    if index is None:
        raise _bad(expected, "is no letter, and no choices are listed", "write a letter, or list the choices")
    return index


def _is_same_choice(content: Content, other: Content) -> bool:
    number, value = content.number, other.number
    if number is None or value is None or number.value != value.value:
        return content.text == other.text
    return content.text == other.text or (number.unit, number.scale) == (value.unit, value.scale)


def _gold_number(expected: Expected, answer: str) -> Quantity:
    quantity = parse_quantity(answer, sentence=False)
    if quantity is None:
        raise _bad(
            expected,
            "is not one number",
            "write digits such as 12, 3.14 or 3/4, or use answer_type expression",
        )
    unit = canonical_unit(clean(expected.unit)) if expected.unit else ""
    if unit and quantity.unit and unit != quantity.unit:
        raise _bad(expected, f"has another unit than the unit {expected.unit!r}", "write the unit once")
    return quantity._replace(unit=unit) if unit else quantity


def _gold_boolean(expected: Expected, answer: str) -> bool:
    value = read_boolean(answer)
    if value is None:
        raise _bad(expected, "is neither yes nor no", "write yes, no, true or false, or use answer_type text")
    return value


def _gold_expression(expected: Expected, answer: str) -> expressions.Expression:
    if not expressions.is_formula(answer):
        raise _bad(expected, "is prose, not an expression", "write a formula, or use answer_type text")
    gold = expressions.read_expression(answer)
    return (
        replace(gold, unit=canonical_unit(clean(expected.unit))) if expected.unit and not gold.unit else gold
    )


_ALTERNATIVES = re.compile(
    r",?\s+or\s+(?:equivalently,?\s+)?|,?\s+i\.e\.,?\s+|\s+\((?==)|\s*≈\s*|\s*;\s*|,?\s+and\s+|\s+\((?=\w)",
    re.IGNORECASE,
)
_LOOSE_ENDS = " ().=,"


def _compare_number(expected: Expected, gold: Quantity, answer: str) -> bool | Question:
    quantity = parse_quantity(answer)
    if quantity is not None:
        return quantities_agree(gold, quantity, expected.precision)
    for reading in clauses(answer):
        quantity = parse_quantity(reading)
        if quantity is not None:
            return not contradicts(answer, reading) and quantities_agree(gold, quantity, expected.precision)
        same = _same_values(reading)
        if same:
            return any(quantities_agree(gold, value, expected.precision) for value in same)
        formula = reading.partition("≈")[0].rpartition("=")[2].strip()
        if expressions.is_surd(formula):
            return Question("value", "", expressions.read_expression(formula).formula)
    return False


_RELATIVE_DIFFERENCE = Fraction(1, 100)


def _same_values(statement: str) -> list[Quantity]:
    """The numbers of "1/2 or 0.5", "1/3 ≈ 0.33": roundings of one value, within one per cent; else none."""
    parts = [part.strip(_LOOSE_ENDS) for part in _ALTERNATIVES.split(statement)]
    if not 2 <= len(parts) <= 3:
        return []
    values = [parse_quantity(part) for part in parts]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return []
    plain = [value.value / 100 if value.unit == "%" else value.value for value in known]
    places = [value.decimals + 2 * (value.unit == "%") for value in known if value.decimals is not None]
    rounding = Fraction(1, 2 * 10 ** min(places)) if places else Fraction(0)
    allowed = min(rounding, abs(plain[0]) * _RELATIVE_DIFFERENCE)
    return known if all(abs(value - plain[0]) <= allowed for value in plain) else []


_SECOND_THOUGHTS = re.compile(
    r"^\W*(?:or|but|maybe|perhaps|possibly|alternatively|however|although|though|either|and)\b"
    r"|\b(?:(?:could|might|may) (?:also )?be|or (?:maybe|perhaps|possibly)|alternatively|or it)\b",
    re.IGNORECASE,
)


def contradicts(answer: str, reading: str) -> bool:
    """Whether what follows the reading of an answer takes it back or offers another one."""
    return len(answer) > len(reading) and _SECOND_THOUGHTS.search(answer[len(reading) :]) is not None


def settle(expected: Expected, value: str | None) -> bool:
    """The judgement of a number answer whose root or π a worker has evaluated to a decimal or fraction."""
    gold = read_gold(expected)
    quantity = parse_quantity(value, sentence=False) if value else None
    return (
        isinstance(gold, Quantity)
        and quantity is not None
        and quantities_agree(gold, quantity, expected.precision)
    )


def _compare_expression(gold: expressions.Expression, answer: str) -> bool | Question:
    for reading in clauses(answer):
        verdict = expressions.compare_directly(gold, reading)
        if verdict:
            return not contradicts(answer, reading)
        if verdict is None:
            return Question("equal", gold.formula, expressions.read_expression(reading).formula)
    return False


def _equals_text(gold: str, answer: str) -> bool:
    for reading in clauses(answer):
        if contradicts(answer, reading):
            return False
        for text in (reading, without_copula(reading)):
            if normalize_text(text) == gold or _same_number(text, gold):
                return True
    return False


def _same_number(text: str, gold: str) -> bool:
    if not any(character.isdigit() for character in gold):
        return False
    left, right = parse_quantity(text, sentence=False), parse_quantity(gold, sentence=False)
    return bool(left and right) and left == right
