"""What runs inside a worker process: are two formulas equal, is a formula one; by math-verify and sympy.

One question per line in, one reply per line out. A question is JSON, `["equal", gold, answer]` or `["parses",
gold, ""]`; the reply is `true` or `false`, as is the line that says that the worker is ready. Every question
has a hard limit of processor time (an interval timer with the system's default action, which ends even a C
loop that holds the interpreter), so a worker whose parent was killed dies too; an idle one looks for it.
"""

import gc
import json
import logging
import os
import resource
import signal
import string
import sys
import threading
import time
from dataclasses import replace
from typing import Any

from mstar.answers.patterns import late

MEMORY_BYTES = 2 * 1024**3
PARENT_CHECK_SECONDS = 2.0
_DIGITS, _TOLERANCE = 50, 1e-12
_EXTREME = late(r"\^\s*\{?\s*(?:-|\d*[5-9]|\d{2})|\d{4}|!")
"""Of formulas that may hold numbers so small that math-verify drops them: the others need no second look."""


def serve(parent: int, limit_seconds: float) -> None:
    """Answers questions from standard input until it ends or `parent` is no longer the parent process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    logging.disable(logging.CRITICAL)
    sys.setrecursionlimit(3000)
    gc.disable()  # nothing of what is imported is ever garbage: looking for it takes a tenth of the start
    import math_verify  # noqa: F401

    _reply("equal", "x", "x")  # the first question of all takes a third of a second longer
    gc.freeze()
    gc.enable()
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    print("true", flush=True)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, limit_seconds)
        print(json.dumps(_reply(*json.loads(line))), flush=True)
        signal.setitimer(signal.ITIMER_PROF, 0)


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
    return not (_EXTREME.search(gold + answer) and _surely_differ(golds[0], answers[0]))


def _parsed(formula: str) -> list[Any]:
    from math_verify import LatexExtractionConfig, parse

    usual = LatexExtractionConfig()
    # Units are read by `units`; math-verify would take the letters of 2ab for one, and drop them.
    latex = replace(usual, normalization_config=replace(usual.normalization_config, units=False))
    return list(parse(f"${formula}$", [latex], fallback_mode="no_fallback", parsing_timeout=None))


def _surely_differ(gold: Any, answer: Any) -> bool:
    """Whether two formulas that math-verify calls equal differ in value: it rounds floats to 6 decimals and
    drops terms below 1e-15. Letters are given values; tuples and matrices are compared item by item.
    """
    import sympy

    if isinstance(gold, sympy.Eq) and gold.lhs.is_Symbol and not isinstance(answer, sympy.Eq):
        return _surely_differ(gold.rhs, answer)
    if isinstance(gold, sympy.Expr) and isinstance(answer, sympy.Expr):
        letters = sorted(gold.free_symbols | answer.free_symbols, key=str)
        values = {letter: sympy.Rational(17 + 6 * place, 7) for place, letter in enumerate(letters)}
        first, second = (side.subs(values).evalf(_DIGITS) for side in (gold, answer))
        are_values = first.is_number and second.is_number and first.is_finite and second.is_finite
        return bool(are_values and abs(first - second) > _TOLERANCE * abs(first))
    kinds = (sympy.Tuple, sympy.Interval, sympy.MatrixBase)
    if isinstance(gold, kinds) and isinstance(answer, kinds):
        items = (side.flat() if isinstance(side, sympy.MatrixBase) else side.args for side in (gold, answer))
        return any(_surely_differ(*pair) for pair in zip(*items, strict=False))
    return False


_LETTER = late(r"\\[A-Za-z]+|[A-Za-z]")


def _cases_apart(gold: str, answer: str) -> tuple[str, str]:
    """Capital letters that also occur as small ones become other small ones: math-verify ignores case."""
    letters = {letter for letter in _LETTER.findall(gold + " " + answer) if len(letter) == 1}
    used = {letter.lower() for letter in letters} | set("eid")
    free = [letter for letter in string.ascii_lowercase if letter not in used]
    clashing = sorted(letter for letter in letters if letter.isupper() and letter.lower() in letters)
    names = dict(zip(clashing, free, strict=False))
    first, second = (_LETTER.sub(lambda one: names.get(one[0], one[0]), side) for side in (gold, answer))
    return first, second
