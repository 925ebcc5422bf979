"""Several accepted golds, golds that are odd but usable, and golds that are compared exactly."""

from collections.abc import Iterator

import pytest

from mstar.answers import AnswerChecker, Expected
from mstar.answers.arithmetic import value_of
from mstar.datasets.odd_golds import oddities


@pytest.fixture(scope="module")
def checker() -> Iterator[AnswerChecker]:
    with AnswerChecker(deadline_seconds=60) as checker:
        yield checker


@pytest.mark.parametrize(
    ("expected", "right", "wrong"),
    [
        (Expected("grey", "text", other_answers=("gray",)), ("grey", "Gray"), ("green", "grey or gray")),
        (Expected("12", "number", other_answers=("13",)), ("12", "13.0"), ("12.5", "12 or 13", "25")),
        (Expected("A", "choice", ("x", "y", "z"), other_answers=("C",)), ("A", "(C) z"), ("B", "A and C")),
        (Expected("1, 2", "list", other_answers=("2, 1",)), ("1, 2", "2, 1"), ("1", "1, 2, 1")),
        (Expected("x+1", "expression", other_answers=("2x",)), ("1+x", "x+x"), ("x", "3x")),
    ],
    ids=lambda value: value.answer if isinstance(value, Expected) else None,
)
def test_any_of_several_golds_is_right(
    checker: AnswerChecker, expected: Expected, right: tuple[str, ...], wrong: tuple[str, ...]
) -> None:
    checker.check_gold(expected)
    pairs = [(expected, f"Answer: {answer}") for answer in right + wrong]
    assert [one.correct for one in checker.check_many(pairs)] == [True] * len(right) + [False] * len(wrong)


def test_each_of_several_golds_is_read(checker: AnswerChecker) -> None:
    with pytest.raises(ValueError, match="answer 'abc' of type number is not one number"):
        checker.check_gold(Expected("12", "number", other_answers=("abc",)))
    with pytest.raises(ValueError, match="answer '{{' of type expression cannot be parsed"):
        checker.check_gold(Expected("x+1", "expression", other_answers=("{{",)))


@pytest.mark.parametrize(
    ("expected", "odd"),
    [
        (Expected("A", "choice", ("cat", "dog", "cat")), ["choices A and C are both 'cat'"]),
        (Expected("B", "choice", ("Ff", "ff")), ["choices A and B differ in case only: 'Ff'"]),
        (Expected("A", "choice", ("B", "x")), ["choice A is the letter 'B', which names choice B"]),
        (Expected("AB", "choice", ("p", "q")), ["its answer is the letters AB, all of which"]),
        (Expected("12", "number", other_answers=("12.0", "12")), ["its accepted answers hold one twice"]),
        (Expected("12", "number", unit="5 x"), ["its unit '5 x' is not known"]),
        (Expected("12 cm", "number"), []),
        (Expected("B", "choice", ("A", "B")), []),
    ],
    ids=str,
)
def test_oddities_are_named(expected: Expected, odd: list[str]) -> None:
    found = list(oddities(expected))
    assert len(found) == len(odd)
    assert all(one.startswith(start) for one, start in zip(found, odd, strict=True))


def test_a_question_of_algebra_is_asked_once(checker: AnswerChecker, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = checker._symbolic.ask
    monkeypatch.setattr(
        checker._symbolic, "ask", lambda *question: (asked.append(question), real(*question))[1]
    )
    pairs = [(Expected("(x+5)^2", "expression"), "Answer: x^2+10x+25")] * 5
    assert all(one.correct for one in checker.check_many(pairs))
    assert checker.check(*pairs[0]).correct
    assert len(asked) == 1


def test_a_question_that_passed_its_deadline_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tower = (Expected("x^5", "expression"), "Answer: 9^{9^{9^{9}}} x")
    with AnswerChecker(deadline_seconds=0.5) as own:
        assert own.check(*tower).timed_out
        monkeypatch.setattr(own._symbolic, "ask", lambda *question: pytest.fail(f"{question} is asked again"))
        assert own.check(*tower).timed_out
        assert own.timed_out == 2


@pytest.mark.parametrize(
    ("formula", "same", "other"),
    [
        ("2^4", "16", "2^5"),
        (r"\sqrt{12}", "2√3", "2√2"),
        (r"\frac{9\pi}{2}", "4.5π", "9π"),
        (r"\frac{1}{2^{98}}", "2^{-98}", r"\frac{1}{2^{99}}"),
        ("4!", "24", "4"),
        (r"\frac{\sqrt{2}}{2}", "1/√2", "√2"),
    ],
)
def test_values_are_exact(formula: str, same: str, other: str) -> None:
    assert value_of(formula) == value_of(same) is not None
    assert value_of(formula) != value_of(other) is not None


@pytest.mark.parametrize(
    "text",
    ["x", "2x", "(1", "1/0", "9^{9^9}", "9^9999", "√", "7\\frac{1}{2}", "__import__", "1" * 300, "", "999!"],
)
def test_what_has_no_value(text: str) -> None:
    assert value_of(text) is None
