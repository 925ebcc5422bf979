"""What runs inside a worker process: one question per line in, one reply per line out, until the input ends.

A question is JSON, `["equal", gold, answer]` or `["parses", gold, ""]`; the reply is `true` or `false`, and so is the
line that says that the worker is ready. Every question has a hard limit of its own (an interval timer with the
system's default action, which ends even a C loop that holds the interpreter), so a worker whose parent was killed
dies too; an idle one sees that its parent is another process.
"""

from __future__ import annotations

import json
import logging
import os
import re
import resource
import signal
import string
import sys
import threading
import time
from typing import Any

MEMORY_BYTES = 2 * 1024**3
PARENT_CHECK_SECONDS = 2.0
_DIGITS = 50
_TOLERANCE = 1e-12


def serve(parent: int, limit_seconds: float) -> None:
    """Answers questions from standard input until it ends or `parent` is no longer the parent process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    logging.disable(logging.CRITICAL)
    sys.setrecursionlimit(3000)
    import math_verify  # noqa: F401

    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    print("true", flush=True)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_REAL, limit_seconds)
        print(json.dumps(_reply(*json.loads(line))), flush=True)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _leave_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    os._exit(0)


def _reply(kind: str, gold: str, answer: str) -> bool:
    try:
        return _equal(*_cases_apart(gold, answer)) if kind == "equal" else bool(_parsed(gold))
    except (Exception, RecursionError, MemoryError):
        # sympy raises errors of every kind for odd input; what it cannot compare is not equal.
        return False


def _equal(gold: str, answer: str) -> bool:
    from math_verify import verify

    golds, answers = _parsed(gold), _parsed(answer)
    if not verify(golds, answers, timeout_seconds=None):
        return False
    return not (golds and answers and _surely_differ(golds[0], answers[0]))


def _surely_differ(gold: Any, answer: Any) -> bool:
    """Whether two formulas that math-verify calls equal have different values: it rounds floats to 6 decimals and
    drops terms below 1e-15. Letters are given values; tuples, intervals and matrices are compared item by item.
    """
    import sympy

    if isinstance(gold, sympy.Eq) and gold.lhs.is_Symbol and not isinstance(answer, sympy.Eq):
        return _surely_differ(gold.rhs, answer)
    if isinstance(gold, sympy.Expr) and isinstance(answer, sympy.Expr):
        letters = sorted(gold.free_symbols | answer.free_symbols, key=str)
        values = {letter: sympy.Rational(17 + 6 * place, 7) for place, letter in enumerate(letters)}
        first, second = (side.subs(values).evalf(_DIGITS) for side in (gold, answer))
        if not (first.is_number and second.is_number and first.is_finite and second.is_finite):
            return False
        return bool(abs(first - second) > _TOLERANCE * abs(first))
    if isinstance(gold, sympy.MatrixBase) and isinstance(answer, sympy.MatrixBase):
        return any(_surely_differ(*pair) for pair in zip(gold.flat(), answer.flat(), strict=False))
    if isinstance(gold, sympy.Tuple | sympy.Interval) and len(gold.args) == len(answer.args):
        return any(_surely_differ(*pair) for pair in zip(gold.args, answer.args, strict=True))
    return False


def _parsed(formula: str) -> list[Any]:
    from math_verify import LatexExtractionConfig, parse

    parsed = parse(
        f"${formula}$", [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None
    )
    return list(parsed)


_LETTER = re.compile(r"\\[A-Za-z]+|[A-Za-z]")


def _cases_apart(gold: str, answer: str) -> tuple[str, str]:
    """Capital letters that also occur as small ones become other small ones: math-verify ignores case."""
    letters = {letter for letter in _LETTER.findall(gold + " " + answer) if len(letter) == 1}
    free = [
        letter
        for letter in string.ascii_lowercase
        if not {letter, letter.upper()} & letters and letter not in "eid"
    ]
    clashing = sorted(letter for letter in letters if letter.isupper() and letter.lower() in letters)
    names = dict(zip(clashing, free, strict=False))

    def renamed(formula: str) -> str:
        return _LETTER.sub(lambda match: names.get(match[0], match[0]), formula)

    return renamed(gold), renamed(answer)
