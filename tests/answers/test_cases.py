"""The table of cases: every rule of every answer type, from both sides."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mstar.answers import ANSWER_TYPES, AnswerChecker, Expected, extract

CASES: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parent / "cases.jsonl").read_text("utf-8").splitlines()
]


def expected_of(case: dict[str, Any]) -> Expected:
    return Expected(
        case["answer"], case["answer_type"], tuple(case["choices"]), case["precision"], case["unit"]
    )


@pytest.fixture(scope="module")
def checker() -> Iterator[AnswerChecker]:
    with AnswerChecker(deadline_seconds=60) as checker:
        yield checker


def test_the_table_covers_every_type_from_both_sides() -> None:
    counts = Counter((case["answer_type"], case["expected"]) for case in CASES)
    assert len(CASES) >= 400
    for answer_type in ANSWER_TYPES:
        assert counts[answer_type, True] >= 20 and counts[answer_type, False] >= 20
        assert counts[answer_type, True] + counts[answer_type, False] >= 50
    assert len({json.dumps({**case, "why": "", "expected": ""}) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("expected", [True, False], ids=["right", "wrong"])
@pytest.mark.parametrize("answer_type", ANSWER_TYPES)
def test_cases(answer_type: str, expected: bool, checker: AnswerChecker) -> None:
    """All of a kind in one test: two thousand tests take longer than their cases."""
    cases = [case for case in CASES if (case["answer_type"], case["expected"]) == (answer_type, expected)]
    assert cases
    judged = [(case["why"], checker.check(expected_of(case), case["response"])) for case in cases]
    assert not [one for one in judged if one[1].correct is not expected or one[1].timed_out]


def test_every_gold_of_the_table_is_accepted(checker: AnswerChecker) -> None:
    for expected in {expected_of(case) for case in CASES}:
        checker.check_gold(expected)


def test_every_gold_is_its_own_right_answer(checker: AnswerChecker) -> None:
    for expected in {expected_of(case) for case in CASES}:
        for response in (f"Answer: {expected.answer}", f"So \\boxed{{{expected.answer}}}."):
            assert checker.check(expected, response).correct, response


def test_what_is_extracted_from_a_right_response_is_right_again(checker: AnswerChecker) -> None:
    for case in (case for case in CASES if case["expected"]):
        expected = expected_of(case)
        extracted = extract(case["response"], expected.answer_type, expected.choices)
        assert extracted is not None
        assert checker.check(expected, f"Answer: {extracted}").correct, (case, extracted)


def test_a_truncated_response_is_wrong(checker: AnswerChecker) -> None:
    for case in (case for case in CASES if case["expected"]):
        judgement = checker.check(expected_of(case), case["response"], truncated=True)
        assert (judgement.extracted, judgement.correct) == (None, False)
