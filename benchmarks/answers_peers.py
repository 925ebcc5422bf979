"""Our answer checker against math-verify and mathruler, on the table that tests/answers holds ours to.

The table was written for ours, which gets all of it right or a test fails: what it shows is which rules the
others lack. Each peer is asked in the ways that people ask it, and its best way counts. One core each. Ours
remembers what it has judged; for its speed it forgets that before every round.
"""

import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from math_verify import parse, verify
from mathruler.grader import extract_boxed_content, grade_answer
from pairs import spread

from mstar.answers import ANSWER_TYPES, AnswerChecker, Expected

TABLE = Path(__file__).parent.parent / "tests" / "answers" / "cases.jsonl"
ROUNDS = 3
Case = dict[str, Any]
Judge = Callable[[Case], bool]


def main() -> None:
    logging.disable(logging.ERROR)
    cases = [json.loads(line) for line in TABLE.read_text("utf-8").splitlines()]
    with AnswerChecker() as checker:
        judges: dict[str, Judge] = {
            "ours": lambda case: checker.check(expected_of(case), case["response"]).correct,
            "math-verify": lambda case: verify(parse(case["answer"]), parse(case["response"])),
            "math-verify, gold in $": lambda case: verify(
                parse(f"${case['answer']}$"), parse(case["response"])
            ),
            "mathruler, boxed": lambda case: grade_answer(
                extract_boxed_content(case["response"]), case["answer"]
            ),
            "mathruler, after Answer:": lambda case: grade_answer(stated(case["response"]), case["answer"]),
        }
        print(f"{len(cases)} cases; right verdicts, all and by type:")
        for name, judge in judges.items():
            print(f"{name:26} {accuracy(judge, cases)}")
        rates: dict[str, list[float]] = {name: [] for name in judges}
        for _ in range(ROUNDS):
            for name, judge in judges.items():
                forget(checker)
                rates[name].append(rate(judge, cases))
        for name, found in rates.items():
            print(f"{name:26} {spread(found)} answers/s")
            ratios = [own / other for own, other in zip(rates["ours"], found, strict=True)]
            print(f"{'':26} ours is faster by {spread(ratios)} times")


def expected_of(case: Case) -> Expected:
    return Expected(
        case["answer"], case["answer_type"], tuple(case["choices"]), case["precision"], case["unit"]
    )


def stated(response: str) -> str:
    """What is boxed; else what follows the last `Answer:`; else all of it."""
    boxed = extract_boxed_content(response)
    return response.rpartition("Answer:")[2].strip() if boxed == "None" else boxed


def decide(judge: Judge, case: Case) -> bool:
    try:
        return bool(judge(case))
    except Exception:  # a peer that fails on an answer has not accepted it
        return False


def accuracy(judge: Judge, cases: list[Case]) -> str:
    right: Counter[str] = Counter()
    for case in cases:
        right[case["answer_type"]] += decide(judge, case) is case["expected"]
    totals = Counter(case["answer_type"] for case in cases)
    by_type = ", ".join(f"{kind} {right[kind] / totals[kind]:.0%}" for kind in ANSWER_TYPES)
    return f"{right.total() / len(cases):.1%} ({by_type})"


def forget(checker: AnswerChecker) -> None:
    checker._verdicts.clear()
    for module in [module for name, module in sys.modules.items() if name.startswith("mstar.answers.")]:
        for function in vars(module).values():
            if hasattr(function, "cache_clear"):
                function.cache_clear()


def rate(judge: Judge, cases: list[Case]) -> float:
    started = time.perf_counter()
    for case in cases:
        decide(judge, case)
    return len(cases) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
