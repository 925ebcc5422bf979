"""No response raises, none is right for being empty, and spelling does not change a number."""

import importlib
import pkgutil
from collections.abc import Iterator
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mstar import answers
from mstar.answers import AnswerChecker, Expected, Judgement, extract
from mstar.answers.cleaning import clauses, clean
from mstar.answers.comparison import compare
from mstar.answers.patterns import late
from mstar.answers.quantities import parse_quantity

GOLDS = [
    Expected("14", "number"),
    Expected("12 cm", "number"),
    Expected("50%", "number"),
    Expected("1/3", "number"),
    Expected("B", "choice", ("12", "15", "red cat", "A")),
    Expected("B", "choice"),
    Expected("yes", "boolean"),
    Expected("Paris", "text"),
    Expected("[1, 2]", "list"),
    Expected("{a, b}", "list"),
]
PIECES = (
    "Answer: |answer is |\\boxed{|}|{|(|)|$|**|14|15|B|A) |, | or | and |because |.|\n|-|1/3|%|cm|\\frac|^|=|"
    "yes|no|√|π|½|²|1e9|\\text{|<answer>|</answer>|<think>|</think>|#### |;|[|]|\ud800|\0|İ|答案|。|１|≈| |"
    "not |/|10^"
)
FRAGMENTS = st.sampled_from(PIECES.split("|"))

RESPONSES = st.one_of(st.text(), st.lists(FRAGMENTS, max_size=15).map("".join))


@pytest.fixture(scope="module")
def checker() -> Iterator[AnswerChecker]:
    with AnswerChecker(deadline_seconds=30) as checker:
        yield checker


@settings(deadline=None, max_examples=300)
@given(response=RESPONSES, expected=st.sampled_from(GOLDS))
def test_no_response_raises(checker: AnswerChecker, response: str, expected: Expected) -> None:
    judgement = checker.check(expected, response)
    assert isinstance(judgement, Judgement)
    assert judgement.extracted or not judgement.correct


@settings(deadline=None, max_examples=50)
@given(response=RESPONSES)
def test_no_statement_raises_for_an_expression(checker: AnswerChecker, response: str) -> None:
    # Whether a worker decides or not, no formula that such a response contains is an error.
    checker.check(Expected("x+1", "expression"), f"Answer: {response[:20]}")
    extract(response, "expression")


@settings(deadline=None)
@given(blank=st.text(alphabet=" \t\n\r\u00a0\u3000*$.;", max_size=10), expected=st.sampled_from(GOLDS))
def test_an_empty_answer_is_never_right(checker: AnswerChecker, blank: str, expected: Expected) -> None:
    for response in (blank, f"Answer:{blank}", f"\\boxed{{{blank}}}", f"<answer>{blank}</answer>"):
        assert not checker.check(expected, response).correct


PUNCTUATION = st.text(alphabet=" .,;:!?-–—…·*/^'()[]{}$%°&|_~#<>+=\\\"\n", min_size=1, max_size=8)


@settings(deadline=None, max_examples=1500)
@given(
    lead=st.sampled_from(("Answer: ", "\\boxed{", "The answer is ", "")),
    answer=st.sampled_from(
        ("14", "-3.5", "1/2", "$12", "1.2 million", "B", "yes", "Paris", "1, 2", "√2", "x")
    ),
    tail=PUNCTUATION,
    end=st.sampled_from(("", "}", "$", ".")),
    expected=st.sampled_from([*GOLDS, Expected("x+1", "expression")]),
)
def test_no_tail_of_punctuation_fails(
    checker: AnswerChecker, lead: str, answer: str, tail: str, end: str, expected: Expected
) -> None:
    compare(expected, f"{answer}{tail}{end}")
    assert not checker.check(expected, f"{lead}{answer}{tail}{end}").failed


@pytest.mark.parametrize("response", ["Answer: 14 ...", "Answer: 14 -.", "\\boxed{14 .. }"])
@pytest.mark.parametrize(
    ("expected", "correct"),
    [
        (Expected("14", "number"), True),
        (Expected("14 cm", "number"), True),
        (Expected("B", "choice", ("12", "14")), True),
        (Expected("yes", "boolean"), False),
        (Expected("14", "text"), True),
        (Expected("[14]", "list"), True),
        (Expected("14", "expression"), True),
    ],
    ids=str,
)
def test_dots_and_dashes_behind_a_number_are_no_unit(
    checker: AnswerChecker, response: str, expected: Expected, correct: bool
) -> None:
    judgement = checker.check(expected, response)
    assert (judgement.correct, judgement.failed) == (correct, False)


@given(st.integers(-(10**12), 10**12))
def test_spellings_of_a_whole_number(value: int) -> None:
    for spelling in (
        f"{value}",
        f"{value:,}",
        f"{value}.0",
        f"${value}$",
        f"**{value}**",
        f"x = {value}",
        f"{value}.",
    ):
        quantity = parse_quantity(clean(spelling))
        assert quantity is not None and quantity.value == value


@given(st.integers(-999, 999), st.integers(1, 999))
def test_spellings_of_a_fraction(numerator: int, denominator: int) -> None:
    for spelling in (f"{numerator}/{denominator}", rf"\frac{{{numerator}}}{{{denominator}}}"):
        quantity = parse_quantity(clean(spelling))
        assert quantity is not None and quantity.value == Fraction(numerator, denominator)


@settings(deadline=None)
@given(left=st.integers(-1000, 1000), right=st.integers(-1000, 1000))
def test_whole_numbers_are_equal_only_to_themselves(checker: AnswerChecker, left: int, right: int) -> None:
    judgement = checker.check(Expected(str(left), "number"), f"Answer: {right}")
    assert judgement.correct is (left == right)
    if left != right:
        for joint in (" or ", " and ", ", ", "; "):
            assert not checker.check(Expected(str(left), "number"), f"Answer: {left}{joint}{right}").correct


@settings(deadline=None)
@given(value=st.decimals(-1000, 1000, places=4), decimals=st.integers(0, 3))
def test_rounding_to_the_precision(checker: AnswerChecker, value: object, decimals: int) -> None:
    gold = Expected(f"{value:.{decimals}f}", "number", precision=decimals)
    assert checker.check(gold, f"Answer: {value}").correct
    assert not checker.check(gold, f"Answer: {Fraction(str(value)) + 2}").correct


@given(st.text(max_size=200))
def test_readings_start_with_the_whole_statement(text: str) -> None:
    cleaned = clean(text)
    readings = list(clauses(cleaned))
    assert readings[0] == (cleaned, "") and 1 <= len(readings) <= 4


def test_patterns_that_are_compiled_late_are_patterns() -> None:
    """A slip in one is no error before a response meets it."""
    names = [f"mstar.answers.{module.name}" for module in pkgutil.iter_modules(answers.__path__)]
    values = [value for name in names for value in vars(importlib.import_module(name)).values()]
    written = [value for value in values if type(value) is type(late(""))]
    assert len(written) > 100
    for value in written:
        value.search("")  # raises where it is none
