"""Generated responses: none raises or passes the deadline, restated golds are right, corrected ones wrong.

MSTAR_FUZZ says how many (`make fuzz`: 100,000), MSTAR_FUZZ_SEED which.
"""

import os
import time
from collections.abc import Iterator

import pytest

from mstar.answers import AnswerChecker, Expected, Judgement

from .fuzzing import CONCLUSIONS, corrected, correction, noise, restated, rounds

RESPONSES = int(os.environ.get("MSTAR_FUZZ", "4000"))
SEED = int(os.environ.get("MSTAR_FUZZ_SEED", "9"))
DEADLINE_SECONDS = 2.0
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def checker() -> Iterator[AnswerChecker]:
    with AnswerChecker(DEADLINE_SECONDS) as checker:
        checker.check(
            Expected("x+1", "expression"), "Answer: 1+x"
        )  # a worker's start is no part of a deadline
        yield checker


def judged(checker: AnswerChecker, expected: Expected, response: str) -> Judgement:
    used = time.process_time()  # what a worker takes is bounded by its own timer
    judgement = checker.check(expected, response)
    assert time.process_time() - used < DEADLINE_SECONDS, (expected, response[:200])
    assert not judgement.failed and (judgement.extracted or not judgement.correct), (expected, response[:200])
    return judgement


def test_noise_never_raises_and_a_contradiction_makes_nothing_right(checker: AnswerChecker) -> None:
    for chance, subject in rounds(SEED, RESPONSES // 2):
        response = noise(chance)
        if not judged(checker, subject.expected, response).correct:
            contradicted = response + correction(chance, subject)
            assert not judged(checker, subject.expected, contradicted).correct, (
                subject.expected,
                contradicted,
            )


def test_a_gold_that_is_restated_is_right(checker: AnswerChecker) -> None:
    for chance, subject in rounds(SEED + 1, RESPONSES // 4):
        before = noise(chance).replace("<think>", "").replace("boxed", "")
        response = f"{before}\n\n{restated(chance, subject)}"
        assert judged(checker, subject.expected, response).correct, (subject.expected, response)


def test_a_conclusion_counts_as_an_answer_behind_a_marker_does(checker: AnswerChecker) -> None:
    for chance, subject in rounds(SEED + 3, RESPONSES // 8):
        response = restated(chance, subject, CONCLUSIONS)
        assert judged(checker, subject.expected, response).correct, (subject.expected, response)
        response = corrected(chance, subject, CONCLUSIONS)
        assert not judged(checker, subject.expected, response).correct, (subject.expected, response)


def test_a_gold_that_is_corrected_to_another_value_is_wrong(checker: AnswerChecker) -> None:
    for chance, subject in rounds(SEED + 2, RESPONSES // 4):
        response = corrected(chance, subject)
        assert not judged(checker, subject.expected, response).correct, (subject.expected, response)


@pytest.mark.parametrize(
    "response",
    [
        "Answer: " + "9^{" * 300_000 + "}" * 300_000,
        "Answer: " + "{" * MEGABYTE,
        "Answer: 9" + "^9" * 400,
        "Answer: " + "\\frac{" * 140 + "1" + "}{2}" * 140,
        "\\boxed{" + "\\boxed{" * 100_000,
        "\\boxed{1}, " * 100_000,
        "Answer: " + "\ud800" * MEGABYTE,
        "Answer: 14" + "\ud83d" * 900,
        "Answer: 14. " + "if " * 300_000,
        "Answer: 14. " + "wait" * 250_000,
        "Answer: 14\n" + "the answer " * 90_000,
        "the answer to " * 70_000 + "is 14",
        "Answer: " + "(" * 900,
        "Answer: " + "a " * 490,
        "Answer: " + "1," * 490,
        "Answer: " + "letter " * 140,
        "So " + "it is 2x = " * 80,
        "Answer: " + "one hundred " * 80,
        "Answer: " + "√" * 900,
        "Answer: 14" + " " * MEGABYTE + "or 15",
        "Answer: 14\n" + "\n" * 9_990 + "14",
        "Answer: 14\n" + "(" * 9_990 + "14",
        "a" + " " * MEGABYTE + "```",
    ],
    ids=lambda response: response[:20].encode("ascii", "backslashreplace").decode(),
)
def test_hostile_responses_stay_within_the_deadline(checker: AnswerChecker, response: str) -> None:
    for _, subject in rounds(SEED, 40):
        judged(checker, subject.expected, response)
    judged(checker, Expected("x^2", "expression"), response)
