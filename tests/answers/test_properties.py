"""No response raises, none is right for being empty, and spelling does not change a number."""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mstar.answers import AnswerChecker, Expected, Judgement, extract
from mstar.answers.agreement import plain_numbers_agree, quantities_agree
from mstar.answers.cleaning import clauses, clean
from mstar.answers.comparison import compare
from mstar.answers.extraction import search_statement, tidy
from mstar.answers.plain import plain_statement
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
LEADS = ("", "Answer: ", "The answer is ", "**Answer:** ", "x;Answer:", "Perhaps the answer is ", "\\boxed{")
ASIDES = (
    "(B) 15",
    "B. red cat",
    "12 cm",
    "therefore ",
    "found by ",
    "the correct choice is ",
    "ans: ",
    "1,234",
    "apples",
)
NUMBERS = st.integers(0, 3).flatmap(lambda places: st.decimals(-999, 999, allow_nan=False, places=places))
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


@settings(deadline=None, max_examples=2000)
@given(
    lead=st.sampled_from(LEADS),
    response=st.lists(st.one_of(FRAGMENTS, st.sampled_from(ASIDES)), max_size=5).map("".join),
    expected=st.sampled_from(GOLDS),
)
def test_the_short_way_to_a_statement_decides_as_the_search_does(
    lead: str, response: str, expected: Expected
) -> None:
    question = (lead + response, expected.answer_type, expected.choices)
    plain = plain_statement(*question)
    if plain is not None:
        found = search_statement(*question)
        assert found is not None
        assert compare(expected, plain) == compare(expected, found)
        assert tidy(plain, *question[1:]) == tidy(found, *question[1:])


def test_digits_of_other_scripts_take_the_long_way() -> None:
    """Both ways must say the same of them, and the short one would keep them as they are written."""
    for response in ("Answer: **\uff11", "\uff11", "\\boxed{\uff11}"):
        assert plain_statement(response, "number", ()) is None


@pytest.mark.parametrize(
    "response",
    ["14", "(B)", "x;Answer:14", "**Answer:** (B) 15", "So the answer is 1,234 cm.", "\\boxed{-3.5}"],
)
def test_a_plain_response_takes_the_short_way(response: str) -> None:
    assert plain_statement(response, None, ()) in response
    assert plain_statement(f"{response}\nA remark", None, ()) is None


@given(
    gold=NUMBERS,
    difference=st.decimals(-2, 2, allow_nan=False, places=4),
    places=st.integers(0, 4),
    precision=st.none() | st.integers(0, 5),
)
def test_plain_numbers_agree_as_quantities_do(
    gold: Decimal, difference: Decimal, places: int, precision: int | None
) -> None:
    left, right = str(gold), f"{gold + difference:.{places}f}"
    agree = plain_numbers_agree(left, right, precision)
    left_quantity, right_quantity = parse_quantity(left), parse_quantity(right)
    assert left_quantity is not None and right_quantity is not None
    if agree is None:
        assert precision is not None and precision < (left_quantity.decimals or 0)
    else:
        assert agree is quantities_agree(left_quantity, right_quantity, precision)


@settings(deadline=None, max_examples=50)
@given(response=RESPONSES)
def test_no_statement_raises_for_an_expression(checker: AnswerChecker, response: str) -> None:
    # Whether a worker decides or not, no formula that such a response contains is an error.
    checker.check(Expected("x+1", "expression"), f"Answer: {response[:20]}")
    extract(response)


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
    assert readings[0] == cleaned and 1 <= len(readings) <= 3
