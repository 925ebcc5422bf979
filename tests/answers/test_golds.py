"""Golds that nothing can be compared with are refused, in one line that says what to do."""

from collections.abc import Iterator

import pytest

from mstar.answers import AnswerChecker, Expected

REFUSED = [
    (Expected("", "number"), "is empty"),
    (Expected("  ", "text"), "is empty"),
    (Expected("abc", "number"), "not one number"),
    (Expected("1 or 2", "number"), "not one number"),
    (Expected("1,5", "number"), "not one number"),
    (Expected("inf", "number"), "not one number"),
    (Expected("1e999999", "number"), "not one number"),
    (Expected("2x", "number"), "not one number"),
    (Expected("9" * 2000, "number"), "longer than"),
    (Expected("12 cm", "number", unit="m"), "another unit"),
    (Expected("3", "number", precision=99), "precision is 99"),
    (Expected("3", "number", precision=-1), "precision is -1"),
    (Expected("maybe", "boolean"), "neither yes nor no"),
    (Expected("yes/no", "boolean"), "neither yes nor no"),
    (Expected("...", "text"), "no letter, digit or sign"),
    (Expected("E", "choice", ("1", "2", "3")), "neither a letter from A to C"),
    (Expected("7", "choice", ("1", "2", "3")), "neither a letter"),
    (Expected("A or B", "choice", ("1", "2", "3")), "neither a letter"),
    (Expected("15", "choice"), "no choices are listed"),
    (Expected("A", "choice", ("1", "")), "choice 2 is empty"),
    (Expected("A", "choice", tuple(str(number) for number in range(27))), "26 letters"),
    (Expected("[]", "list"), "no items"),
    (Expected("1,,2", "list"), "no items"),
    (Expected("{{{", "expression"), "cannot be parsed"),
    (Expected("x +", "expression"), "cannot be parsed"),
    (Expected("a pretty flower", "expression"), "is prose"),
    (Expected("14", "guess"), "answer_type is 'guess'"),  # type: ignore[arg-type]
]


@pytest.fixture(scope="module")
def checker() -> Iterator[AnswerChecker]:
    with AnswerChecker(deadline_seconds=60) as checker:
        yield checker


@pytest.mark.parametrize("expected, rule", REFUSED, ids=str)
def test_refused(expected: Expected, rule: str, checker: AnswerChecker) -> None:
    with pytest.raises(ValueError, match=rule) as raised:
        checker.check_gold(expected)
    assert "\n" not in str(raised.value) and ";" in str(raised.value)


def test_a_bad_gold_is_never_right(checker: AnswerChecker) -> None:
    with pytest.raises(ValueError, match="not one number"):
        checker.check(Expected("abc", "number"), "Answer: abc")
    with pytest.raises(ValueError, match="is empty"):
        checker.check(Expected("", "text"), "")


@pytest.mark.parametrize(
    "expected",
    [
        Expected("B", "choice"),
        Expected("A", "choice", ("(0, 1)", "[0, 1]")),
        Expected("A", "choice", ("a cat", "the cat")),
        Expected("A", "choice", ("cat", "dog", "cat")),
        Expected("A", "choice", ("1", "2", "1.0")),
        Expected("ff", "choice", ("Ff", "ff", "FF")),
        Expected("ABCD", "choice", ("w", "x", "y", "z")),
        Expected("ABCD", "expression"),
        Expected(r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", "expression"),
        Expected("4πcm", "number"),
        Expected("A", "choice", ("+", "-", "×")),
        Expected("fourteen", "number"),
        Expected("A", "text"),
        Expected("[5]", "list"),
        Expected(r"\frac{x}{2}", "expression"),
    ],
    ids=str,
)
def test_accepted(expected: Expected, checker: AnswerChecker) -> None:
    checker.check_gold(expected)
    assert checker.check(expected, f"Answer: {expected.answer}").correct


def test_an_expression_is_tried_in_a_worker(checker: AnswerChecker) -> None:
    checker.check_gold(Expected("(x+1)^2", "expression"))
    with pytest.raises(ValueError, match="cannot be parsed"):
        checker.check_gold(Expected(r"\frac{1}", "expression"))
