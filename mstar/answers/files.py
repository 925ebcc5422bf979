"""Judges a JSONL file of responses, row by row, without holding it in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from mstar.answers.checker import AnswerChecker
from mstar.answers.expected import ANSWER_TYPES, Expected, Judgement


@dataclass(slots=True)
class FileCounts:
    """Rows `judged`, how many of them `correct`, `timed_out`, `failed`; a line in `errors` per `bad` row."""

    judged: int = 0
    correct: int = 0
    timed_out: int = 0
    failed: int = 0
    errors: list[str] = field(default_factory=list)

    @property
    def bad(self) -> int:
        return len(self.errors)


def judge_file(path: str | Path, out: TextIO, checker: AnswerChecker | None = None) -> FileCounts:
    """Writes every row of `path` to `out` with `extracted` and `correct` (and `timed_out`, `failed`) added.

    A row is {"answer" (or "answers"), "answer_type", "response"} and, where they apply, "choices", "precision", "unit" and
    "truncated"; other keys are kept. A row that is no such object or whose gold does not parse is written
    with "error" instead; its line in `errors` names file, row (from 1), value, rule and remedy. Blank lines
    are skipped.
    """
    if checker is None:
        with AnswerChecker() as own:
            return judge_file(path, out, own)
    counts = FileCounts()
    parsed_golds: set[Expected] = set()
    for number, line in _numbered_lines(Path(path)):
        row: dict[str, Any] = {}
        try:
            row = _read_row(line)
            judgement = _judge_row(row, checker, parsed_golds)
        except ValueError as error:
            message = f"{path} row {number}: {error}"
            counts.errors.append(message)
            _write_row(out, {**row, "error": message})
            continue
        counts.judged += 1
        counts.correct += judgement.correct
        counts.timed_out += judgement.timed_out
        counts.failed += judgement.failed
        _write_row(out, {**row, **judgement._asdict()})
    return counts


def _numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, line


def _read_row(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON ({error}); write one JSON object per line") from error
    if not isinstance(row, dict):
        raise ValueError(f"is {type(row).__name__}, not an object; write one JSON object per line")
    return row


def _judge_row(row: dict[str, Any], checker: AnswerChecker, parsed_golds: set[Expected]) -> Judgement:
    expected = read_expected(row)
    response = row.get("response")
    if not isinstance(response, str):
        raise ValueError(f"response is {response!r}; it must be a text; write the response as a string")
    if expected not in parsed_golds:
        checker.check_gold(expected)
        parsed_golds.add(expected)
    return checker.check(expected, response, truncated=row.get("truncated") is True)


def read_expected(row: dict[str, Any]) -> Expected:
    """The expected answer of a row. Raises ValueError for a missing or mistyped value."""
    answers, answer_type = _read_answers(row), row.get("answer_type")
    if answer_type not in ANSWER_TYPES:
        raise ValueError(
            f"answer_type is {answer_type!r}; it must be one of {', '.join(ANSWER_TYPES)}; correct it"
        )
    choices, precision, unit = row.get("choices") or [], row.get("precision"), row.get("unit")
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise ValueError(
            f"choices is {choices!r}; it must be a list of texts; write every choice as a string"
        )
    if precision is not None and (not isinstance(precision, int) or isinstance(precision, bool)):
        raise ValueError(
            f"precision is {precision!r}; it must be a whole number of decimals; correct or drop it"
        )
    if unit is not None and not isinstance(unit, str):
        raise ValueError(f"unit is {unit!r}; it must be a text; correct or drop it")
    return Expected(answers[0], answer_type, tuple(choices), precision, unit or None, tuple(answers[1:]))


def _read_answers(row: dict[str, Any]) -> list[str]:
    """The accepted golds: `answers`, or `answer` alone."""
    answer, answers = row.get("answer"), row.get("answers")
    if answers is None:
        if not isinstance(answer, str):
            raise ValueError(f'answer is {answer!r}; it must be a text; write it as a string, such as "14"')
        return [answer]
    if answer is not None:
        raise ValueError("answer and answers are both given; keep answer for one gold, answers for several")
    if not isinstance(answers, list) or not answers or not all(isinstance(one, str) for one in answers):
        raise ValueError(f"answers is {answers!r}; it must be one or more texts in a list; correct it")
    return answers


def _write_row(out: TextIO, row: dict[str, Any]) -> None:
    out.write(json.dumps(row) + "\n")
