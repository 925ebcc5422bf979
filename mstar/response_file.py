"""Judges a JSONL file of responses, row by row, without holding it in memory.

A row has the keys of a problem file that say what is expected (`answer` or `answers`, `answer_type`,
`choices`, `precision`, `unit`), a `response` and, where it applies, `truncated`; other keys are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from mstar.answers import AnswerChecker, Expected, Judgement
from mstar.datasets.rows import (
    read_answer,
    read_answer_type,
    read_choices,
    read_other_answers,
    read_precision,
    read_unit,
)
from mstar.datasets.values import quote


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

    A row that is no object or whose gold does not parse is written with "error" instead; its line in `errors`
    names file, row (from 1), value, rule and remedy. Blank lines are skipped.
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
            out.write(json.dumps({**row, "error": message}) + "\n")
            continue
        counts.judged += 1
        counts.correct += judgement.correct
        counts.timed_out += judgement.timed_out
        counts.failed += judgement.failed
        out.write(json.dumps({**row, **judgement._asdict()}) + "\n")
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
    expected, response = read_expected(row), row.get("response")
    if not isinstance(response, str):
        raise ValueError(f"response is {quote(response)}; it must be a text; write the response as a string")
    if expected not in parsed_golds:
        checker.check_gold(expected)
        parsed_golds.add(expected)
    return checker.check(expected, response, truncated=row.get("truncated") is True)


def read_expected(row: dict[str, Any]) -> Expected:
    """The expected answer of a row. Raises ValueError for a missing or mistyped value."""
    answer = read_answer(row)
    if answer is None:
        raise ValueError("answer is null or missing; write the gold answer, or several under answers")
    return Expected(
        answer,
        read_answer_type(row),
        read_choices(row),
        read_precision(row),
        read_unit(row),
        read_other_answers(row),
    )
