"""MathVista's own scoring (arXiv 2310.02255), beside ours: figures that can be put next to published ones.

Its script takes an answer out of a response by quick rules and, where these find none, asks GPT-4; then it
gives it the form of the gold and compares texts. In place of GPT-4 stands the answer that we extract, with
its number alone where a number is asked for. What is asked for shows in the gold: a choice, a whole number
(no precision), a number with decimals, else the text itself. Only facts of the published rules are used.
"""

import re
from collections.abc import Sequence
from fractions import Fraction

from mstar.answers import Expected

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
QUOTED = re.compile(r'The answer is "(.*)"\.')
IN_BRACKETS = re.compile(r"\(([a-zA-Z])\)")
NUMBER = re.compile(r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
FRACTION = re.compile(r"[-+]?\d+\s*/\s*\d+")


def is_officially_right(expected: Expected, response: str, extracted: str | None) -> bool:
    """Whether MathVista's rules accept a response, of which we have extracted this answer."""
    answer = quick_answer(expected, response)
    if answer is None:
        answer = stand_in(expected, extracted or "")
    return normalized(expected, answer) == gold_text(expected)


def quick_answer(expected: Expected, response: str) -> str | None:
    """By the rules for responses that are nothing but an answer, or that quote it; None where they do not
    apply.
    """
    if not response or response in expected.choices:
        return response
    bare = whole_number(response) if is_whole(expected) else decimal_number(response, None)
    if expected.answer_type == "number" and bare is not None and (NUMBER.fullmatch(response.strip())):
        return bare
    quoted = QUOTED.search(response)
    return quoted[1] if quoted else None


def stand_in(expected: Expected, extracted: str) -> str:
    """Our extraction as GPT-4 would state it: a number without its unit."""
    if expected.answer_type != "number":
        return extracted
    if FRACTION.fullmatch(extracted.strip()) and not re.search(r"/\s*0+$", extracted.strip()):
        return str(float(Fraction(re.sub(r"\s", "", extracted))))
    found = NUMBER.search(extracted)
    return found[0].replace(",", "") if found else extracted


def normalized(expected: Expected, answer: str) -> str | None:
    """The answer in the form of the gold; None where it has none. An empty one is no answer."""
    if expected.answer_type == "choice" and expected.choices:
        return nearest_choice(answer.strip(), expected.choices)
    if expected.answer_type == "number":
        return whole_number(answer) if is_whole(expected) else decimal_number(answer, expected.precision)
    return answer.strip() or None


def nearest_choice(answer: str, choices: Sequence[str]) -> str | None:
    """The choice that a letter names, else the one that fewest edits make of the answer; the first of
    several.
    """
    if not answer:
        return None
    bracketed = IN_BRACKETS.search(answer)
    letter = bracketed[1].upper() if bracketed else answer
    place = LETTERS.find(letter) if len(letter) == 1 else -1
    if 0 <= place < len(choices):
        return choices[place]
    return min(choices, key=lambda choice: edits(answer if not bracketed else letter, choice))


def gold_text(expected: Expected) -> str:
    """The gold as MathVista writes it: of a choice its content."""
    gold = expected.answer.strip()
    place = LETTERS.find(gold) if len(gold) == 1 else -1
    if expected.answer_type == "choice" and 0 <= place < len(expected.choices):
        return expected.choices[place]
    return gold


def is_whole(expected: Expected) -> bool:
    return expected.precision is None


def whole_number(text: str) -> str | None:
    try:
        return str(int(float(text)))
    except (ValueError, OverflowError):
        return None


def decimal_number(text: str, precision: int | None) -> str | None:
    try:
        return str(float(text) if precision is None else round(float(text), precision))
    except ValueError:
        return None


def edits(one: str, other: str) -> int:
    """Levenshtein's distance: characters that are put in, left out or replaced."""
    row = list(range(len(other) + 1))
    for number, mine in enumerate(one, start=1):
        before, row[0] = row[0], number
        for place, theirs in enumerate(other, start=1):
            row[place], before = (
                min(row[place] + 1, row[place - 1] + 1, before + (mine != theirs)),
                row[place],
            )
    return row[-1]
