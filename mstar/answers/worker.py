"""What runs inside a worker process: one question per line in, one reply per line out, until the input ends.

A question is JSON, `["equal", gold, answer]` or `["value", "", answer]` or `["parses", gold, ""]`; a reply
is `{"reply": ...}`: true/false, the value as a decimal or fraction (null if it has none), true/false. Every
question has a hard limit of its own (an interval timer with the system's default action, which ends even a
C loop that holds the interpreter), so a worker whose parent was killed dies too; it also ends when its
parent is another process.
"""

from __future__ import annotations

import json
import logging
import os
import re
import resource
import select
import signal
import string
import sys
from typing import Any

MEMORY_BYTES = 2 * 1024**3
PARENT_CHECK_SECONDS = 2.0
_VALUE_DIGITS = 40


def serve(parent: int, limit_seconds: float) -> None:
    """Answers questions from standard input until it ends or `parent` is no longer the parent process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    logging.disable(logging.CRITICAL)
    sys.setrecursionlimit(3000)
    import math_verify  # noqa: F401

    _write({"ready": True})
    buffer = b""
    while os.getppid() == parent:
        if not select.select([0], [], [], PARENT_CHECK_SECONDS)[0]:
            continue
        received = os.read(0, 65536)
        if not received:
            return
        *lines, buffer = (buffer + received).split(b"\n")
        for line in lines:
            signal.setitimer(signal.ITIMER_REAL, limit_seconds)
            _write({"reply": _reply(*json.loads(line))})
            signal.setitimer(signal.ITIMER_REAL, 0)


def _write(message: dict[str, Any]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def _reply(kind: str, gold: str, answer: str) -> bool | str | None:
    try:
        if kind == "equal":
            return _equal(*_cases_apart(gold, answer))
        return bool(_parsed(gold)) if kind == "parses" else _value(answer)
    except (Exception, RecursionError, MemoryError):
        # sympy raises errors of every kind for odd input; what it cannot compare is not equal.
        return None if kind == "value" else False


def _equal(gold: str, answer: str) -> bool:
    from math_verify import verify

    return bool(verify(_parsed(gold), _parsed(answer), timeout_seconds=None))


def _parsed(formula: str) -> list[Any]:
    from math_verify import LatexExtractionConfig, parse

    parsed = parse(
        f"${formula}$", [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None
    )
    return list(parsed)


def _value(formula: str) -> str | None:
    import sympy

    parsed = _parsed(formula)
    if len(parsed) != 1 or not isinstance(parsed[0], sympy.Expr) or not parsed[0].is_number:
        return None
    exact = sympy.nsimplify(parsed[0], rational=False) if parsed[0].is_rational else parsed[0]
    if isinstance(exact, sympy.Rational):
        return f"{exact.p}/{exact.q}" if exact.q != 1 else str(exact.p)
    number = parsed[0].evalf(_VALUE_DIGITS)
    return str(number) if number.is_Float and number.is_finite else None


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
