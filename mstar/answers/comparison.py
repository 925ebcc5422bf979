"""Compares a stated answer with the gold, by answer type; what needs algebra becomes a `Question`.

A statement is read as a whole, or up to its first sentence's end, a reason or a remark (`cleaning.clauses`);
what follows the reading must not take it back (`doubt`). Only lists may give several different values. The
types: `choices`, `quantities`, `booleans`, `lists`, `expressions`; no part of a text equals it.
"""

import re
from typing import NamedTuple

from mstar.answers import expressions, lists
from mstar.answers.booleans import read_boolean
from mstar.answers.choices import named_choice, read_content, read_letters
from mstar.answers.cleaning import MAX_ANSWER_CHARACTERS, clauses, clean, normalize_text
from mstar.answers.doubt import is_taken_back
from mstar.answers.expected import AnswerType, Expected
from mstar.answers.expressions import NAME_EQUALS
from mstar.answers.golds import Gold, read_golds
from mstar.answers.leads import behind_leads
from mstar.answers.patterns import late
from mstar.answers.quantities import Quantity, parse_quantity, quantities_agree
from mstar.answers.units import conversion


class Question(NamedTuple):
    """For a worker: are two formulas equal?"""

    gold: str
    answer: str


def compare(expected: Expected, statement: str) -> bool | list[Question]:
    """Whether a stated answer is an accepted one, or the questions of which one must be answered with yes.

    ValueError: bad gold.
    """
    golds = read_golds(expected)
    answer = clean(statement)
    if not answer or len(answer) > 2 * MAX_ANSWER_CHARACTERS:
        return False
    verdicts = [_compare(expected, gold, answer) for gold in golds]
    if True in verdicts:
        return True
    return [verdict for verdict in verdicts if isinstance(verdict, Question)] or False


def _compare(expected: Expected, gold: Gold, answer: str) -> bool | Question:
    if isinstance(gold, frozenset):
        return not gold.isdisjoint(named_choice(answer, expected.choices) or ())
    if isinstance(gold, bool):
        return read_boolean(answer) == gold
    for reading, rest in clauses(answer):
        verdict = _agrees(expected, gold, reading, rest)
        if verdict is not None:
            return False if is_taken_back(rest, reading) else verdict
    return False


def _agrees(expected: Expected, gold: Gold, reading: str, rest: str) -> bool | Question | None:
    """Whether one reading of an answer, with `rest` behind it, states the gold; None: a shorter one may."""
    if not isinstance(gold, str | lists.Items) and _FACTOR.match(rest) and expressions.is_formula(rest):
        return None
    match gold:
        case Quantity():
            return _agrees_as_number(gold, reading, rest, expected.precision)
        case expressions.Expression():
            agrees = expressions.compare_directly(gold, reading)
            if agrees is None:
                return Question(gold.formula, expressions.read_expression(reading).formula)
        case lists.Items():
            agrees = lists.items_agree(gold, reading, expected.precision)
        case _ if expected.answer_type == "choice":
            agrees = read_letters(reading, expected.choices) == gold
        case _:
            agrees = any(_is_same_text(text, str(gold)) for text in behind_leads(reading))
            agrees = agrees and not _ANOTHER_TEXT.fullmatch(rest)
    return agrees or None


_FACTOR = late(r"\s*\([^()=]*(?:(?<![A-Za-z])[bcknpqru-z](?![A-Za-z])|π|\\pi)[^()=]*\)|\([^()=]*\d")
"""Parentheses behind a reading that multiply it: 4(4 - π), 6 (x + 1)."""
_ITEM_NAME = late(r"(?<![^\s,;])[A-Za-z](?:_?\d)?\s*=\s*")


def reads_as(answer_type: AnswerType, answer: str, choices: tuple[str, ...] = ()) -> bool:
    """Whether a cleaned line is nothing but an answer of the type: no calculation, no sentence."""
    match answer_type:
        case "choice":
            is_named = named_choice(answer, choices) is not None or read_letters(answer, choices) != ""
            return is_named and "=" not in answer
        case "number":
            answer = NAME_EQUALS.sub("", answer)
            return parse_quantity(answer, sentence=False) is not None or _same_values(answer, "") != []
        case "boolean":
            return read_boolean(answer) is not None
        case "text":
            return bool(normalize_text(answer)) and not re.search(r"[;=]", answer)
        case "list":
            answer = _ITEM_NAME.sub("", answer)
            is_sentence = re.search(r"=|\b(?:is|are|was|were|be)\b", answer)
            return not is_sentence and lists.read_items(answer) is not None
        case "expression":
            return bool(answer) and expressions.is_formula(answer)


def stated_answer(answer_type: AnswerType, answer: str, choices: tuple[str, ...] = ()) -> str | None:
    """What of a cleaned statement is nothing but an answer, if what follows that does not take it back."""
    for reading, rest in clauses(answer):
        if reads_as(answer_type, reading, choices) and not is_taken_back(rest, reading):
            return reading
    return None


def _agrees_as_number(gold: Quantity, reading: str, rest: str, precision: int | None) -> bool | None:
    quantity = parse_quantity(reading)
    stated = [quantity] if quantity is not None else _same_values(reading, gold.unit)
    if not stated:
        return None
    other = parse_quantity(rest.strip(_LOOSE_ENDS)) if rest.lstrip()[:1] == "(" else None
    is_other = other is not None and conversion(stated[0].unit, other.unit) is not None
    return not is_other and any(quantities_agree(gold, value, precision) for value in stated)


_ALTERNATIVES = late(
    r"(?i),?\s+or\s+(?:equivalently,?\s+)?|,?\s+i\.e\.,?\s+|\s+\((?==)|\s+\((?:i\.e\.|or|that is),?\s+"
    r"|\s*[≈=;]\s*|,?\s+and\s+|\s+\((?=[\w-])"
)
_LOOSE_ENDS = " ().=,"


def _same_values(statement: str, unit: str) -> list[Quantity]:
    """The numbers of "1/2 or 0.5", "1/3 ≈ 0.33", "14 cm (140 mm)" if they are one value, within a rounding;
    values without a unit are meant in `unit`, the gold's.
    """
    parts = [part.strip(_LOOSE_ENDS) for part in _ALTERNATIVES.split(NAME_EQUALS.sub("", statement))]
    values = [parse_quantity(part) for part in parts]
    known = [value._replace(unit=value.unit or unit) for value in values if value is not None]
    if not 2 <= len(known) == len(values) <= 3:
        return []
    first, *others = known
    is_one = all(quantities_agree(first, one) or quantities_agree(one, first) for one in others)
    return known if is_one else []


_ANOTHER_TEXT = late(r"[.;?!,/\s]+(?!thank|done)[a-zß-ɏ]+(?: [a-zß-ɏ]+)?[.?!\s]*", re.IGNORECASE)


def _is_same_text(text: str, gold: str) -> bool:
    """Equal as texts, as spelled, or as numbers; a unit may be missing, a percent sign not."""
    wanted, stated = read_content(gold), read_content(text)
    if wanted.text == stated.text or wanted.spelling.casefold() == stated.spelling.casefold():
        return True
    if not wanted.number or not stated.number or wanted.number.value != stated.number.value:
        return False
    return stated.number.unit == wanted.number.unit or (not stated.number.unit and wanted.number.unit != "%")
