"""MathVista's own scoring: its rules one by one, its leniences and its pedantries included."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstar.answers import Expected
from mstar.report.mathvista import edits, is_officially_right

COMPARED = ("larger than", "equal to", "smaller than")
FRACTIONS = ("3/11", "8/11", "6/11", "3/5")


@pytest.mark.parametrize(
    ("choices", "gold", "response", "extracted", "right"),
    [
        (FRACTIONS, "B", "The correct answer is (B) 8/11.", "B", True),
        (FRACTIONS, "B", "The correct answer is (C).", "C", False),
        (FRACTIONS, "B", "8/11", None, True),
        (FRACTIONS, "B", "It is b.", "(b) 8/11", True),
        (FRACTIONS, "B", "So 8/1", "8/1", True),
        (COMPARED, "A", "It is larger.", "larger", True),
        (COMPARED, "C", 'The answer is "smaller".', None, True),
        (COMPARED, "C", "I cannot tell.", None, False),
        (COMPARED, "C", "", None, False),
        (("7", "70", "17"), "A", "Seven.", "9", True),
    ],
)
def test_choices(choices: tuple[str, ...], gold: str, response: str, extracted: str | None, right: bool):
    assert is_officially_right(Expected(gold, "choice", choices), response, extracted) is right


@pytest.mark.parametrize(
    ("gold", "precision", "response", "extracted", "right"),
    [
        ("14", None, "14", None, True),
        ("14", None, "8 + 6 = 14. Answer: 14", "14", True),
        ("14", None, "Answer: 14 cm", "14 cm", True),
        ("14", None, "Answer: 14.7", "14.7", True),
        ("1234", None, "Answer: 1,234", "1,234", True),
        ("14", None, "Answer: fourteen", "fourteen", False),
        ("14", None, "Answer: 1e400", "1e400", False),
        ("1.2", 1, "1.25", None, True),
        ("1.2", 1, "Answer: 1.19 m", "1.19 m", True),
        ("0.75", 2, "Answer: 3/4", "3/4", True),
        ("0.75", 2, "Answer: 3/0", "3/0", False),
        ("0.60", 2, "Answer: 0.60", "0.60", False),
        ("0.6", 2, "Answer: 0.60", "0.60", True),
        ("2", None, "nan", "nan", False),
        ("2.0", 1, "inf", "inf", False),
    ],
)
def test_numbers(gold: str, precision: int | None, response: str, extracted: str | None, right: bool):
    expected = Expected(gold, "number", precision=precision)
    assert is_officially_right(expected, response, extracted) is right


def test_lists_are_compared_as_texts():
    expected = Expected("[2007, 2008]", "list")
    assert is_officially_right(expected, "Answer: [2007, 2008]", "[2007, 2008]")
    assert not is_officially_right(expected, "Answer: [2007,2008]", "[2007,2008]")


@pytest.mark.parametrize(
    ("one", "other", "distance"), [("kitten", "sitting", 3), ("", "abc", 3), ("a", "a", 0)]
)
def test_edits(one: str, other: str, distance: int):
    assert edits(one, other) == edits(other, one) == distance


@given(st.text("ab", max_size=6), st.text("ab", max_size=6), st.text("ab", max_size=6))
def test_edits_are_a_distance(one: str, other: str, third: str):
    assert (edits(one, other) == 0) == (one == other)
    assert edits(one, third) <= edits(one, other) + edits(other, third)


@given(
    st.text(), st.text(), st.sampled_from(["choice", "number", "list", "text"]), st.sampled_from([None, 0, 2])
)
def test_no_response_raises(response: str, extracted: str, kind: str, precision: int | None):
    gold, choices = ("A", ("x", "y")) if kind == "choice" else ("1", ())
    is_officially_right(Expected(gold, kind, choices, precision), response, extracted)  # type: ignore[arg-type]
