"""Prints how many answers a second one core judges, by kind of answer: python benchmarks/answers.py

Every round judges everything anew; the fastest says what the code takes, the others what the machine did.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from mstar.answers import AnswerChecker, Expected, checker

PROBLEMS = 2000
RESPONSES_PER_PROBLEM = 16
ROUNDS = 5
REASONING = (
    "To find the total, we look at the bar chart. The first bar shows 8 units, the second bar shows 6. "
    "Adding both gives 8 + 6 = 14. "
)

KINDS: dict[str, Callable[[int, int], tuple[Expected, str]]] = {
    "number, chain": lambda i, v: (Expected(str(i), "number"), f"Read:8+6;8+6=14;Answer:{v}"),
    "number, reasoning": lambda i, v: (Expected(str(i), "number"), f"{REASONING}**Answer:** {v}"),
    "number, boxed": lambda i, v: (Expected(str(i), "number"), f"{REASONING}The answer is $\\boxed{{{v}}}$."),
    "number, decimals and unit": lambda i, v: (
        Expected(f"{i}.5 cm", "number"),
        f"{REASONING}The answer is {v}.5 cm.",
    ),
    "choice, letter": lambda i, v: (
        Expected("ABCD"[i % 4], "choice", _choices(i)),
        f"{REASONING}The answer is ({'ABCD'[v % 4]}).",
    ),
    "choice, letter and content": lambda i, v: (
        Expected("ABCD"[i % 4], "choice", _choices(i)),
        f"{REASONING}Answer: ({'ABCD'[v % 4]}) {_choices(i)[v % 4]}",
    ),
    "boolean": lambda i, v: (Expected("yes", "boolean"), f"{REASONING}Answer: {'Yes' if v == i else 'No'}"),
    "text": lambda i, v: (Expected(f"word {i}", "text"), f"{REASONING}Answer: The Word {v}."),
    "list": lambda i, v: (Expected(f"[{i}, 2, 3]", "list"), f"{REASONING}Answer: {v}, 2, 3"),
    "expression, spelled alike": lambda i, v: (Expected(f"x^2+{i}", "expression"), f"Answer: $x^2 + {i}$"),
}


def _choices(first: int) -> tuple[str, ...]:
    return tuple(str(first + offset) for offset in (0, 15, 18, 21))


def _pairs(kind: str) -> Iterator[tuple[Expected, str]]:
    for problem in range(PROBLEMS):
        for response in range(RESPONSES_PER_PROBLEM):
            yield KINDS[kind](problem, problem if response % 2 else problem + response)


def _rate(pairs: list[tuple[Expected, str]]) -> float:
    checker._judge_statement.cache_clear()
    with AnswerChecker() as fresh:
        started = time.process_time()
        for expected, response in pairs:
            fresh.check(expected, response)
        return len(pairs) / (time.process_time() - started)


def main() -> None:
    print(f"{RESPONSES_PER_PROBLEM} responses to each of {PROBLEMS} problems, one core, {ROUNDS} rounds")
    for kind in KINDS:
        pairs = list(_pairs(kind))
        rates = sorted(_rate(pairs) for _ in range(ROUNDS))
        slowest, median, fastest = rates[0], rates[ROUNDS // 2], rates[-1]
        print(f"{kind:28} min {slowest:7,.0f}, median {median:7,.0f}, max {fastest:7,.0f} answers/s")
    with AnswerChecker() as workers:
        algebra = [(Expected(f"(x+{i})^2", "expression"), f"Answer: x^2+{2 * i}x+{i * i}") for i in range(20)]
        workers.check(*algebra[0])
        started = time.perf_counter()
        workers.check_many(algebra)
        print(f"{'expression, algebra':28} {len(algebra) / (time.perf_counter() - started):10,.1f} answers/s")


if __name__ == "__main__":
    main()
