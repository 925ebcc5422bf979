"""Judging a file of responses."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from mstar.answers import AnswerChecker
from mstar.response_file import judge_file

GOOD: list[dict[str, Any]] = [
    {"answer": "14", "answer_type": "number", "response": "8+6=14;Answer:14", "id": "p1"},
    {"answer": "14", "answer_type": "number", "response": "Answer: 15", "note": {"kept": [1, "é", None]}},
    {"answer": "B", "answer_type": "choice", "choices": ["12", "15"], "response": "Answer: (B) 15"},
    {"answer": "7", "answer_type": "number", "unit": "cm", "precision": None, "response": "Answer: 7 km"},
    {"answer": "3.14", "answer_type": "number", "precision": 2, "response": "Answer: 3.14159"},
    {"answer": "14", "answer_type": "number", "response": "Answer: 14", "truncated": True},
    {"answer": "(x+1)^2", "answer_type": "expression", "response": "Answer: x^2+2x+1"},
    {"answer": "yes", "answer_type": "boolean", "response": "\ud800"},
    {"answers": ["grey", "gray"], "answer_type": "text", "response": "Answer: Gray."},
    {"answers": ["A", "C"], "answer_type": "choice", "choices": ["x", "y", "z"], "response": "Answer: C"},
]
BAD = [
    ('{"answer": "14", "answer_type": "number", "response": ', "is not JSON"),
    ("[1, 2]", "is list, not an object"),
    ("[" * 100_000, "is not JSON"),
    ('{"answer": "abc", "answer_type": "number", "response": "Answer: abc"}', "not one number"),
    ('{"answer": "", "answer_type": "text", "response": ""}', "is empty"),
    ('{"answer": {}, "answer_type": "number", "response": "14"}', "answer is {}; it must be text"),
    ('{"answer_type": "number", "response": "14"}', "answer is null or missing"),
    ('{"answer": "1", "answers": ["2"], "answer_type": "number", "response": "1"}', "are both given"),
    ('{"answers": [], "answer_type": "number", "response": "1"}', "answers is []; it must be a list"),
    ('{"answers": ["1", ""], "answer_type": "number", "response": "1"}', "accepted answer 2 is empty"),
    ('{"answers": ["1", "x"], "answer_type": "number", "response": "1"}', "'x' of type number is not one"),
    ('{"answer": "14", "response": "14"}', "answer_type is missing"),
    ('{"answer": "14", "answer_type": "number"}', "response is null"),
    ('{"answer": "A", "answer_type": "choice", "choices": "1", "response": "A"}', "choices is"),
    ('{"answer": "1", "answer_type": "number", "precision": 1.5, "response": "1"}', "precision is 1.5"),
    ('{"answer": "1", "answer_type": "number", "precision": true, "response": "1"}', "precision is true"),
    ('{"answer": "1", "answer_type": "number", "unit": 3, "response": "1"}', "unit is 3"),
    ('{"answer": "{{{", "answer_type": "expression", "response": "Answer: {{{"}', "cannot be parsed"),
]


def test_rows_are_judged_in_order_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    path.write_text("\n\n".join(map(json.dumps, GOOD)) + "\n")
    out = io.StringIO()
    counts = judge_file(path, out)
    rows = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [row["correct"] for row in rows] == [
        True,
        False,
        True,
        False,
        True,
        False,
        True,
        False,
        True,
        True,
    ]
    assert [row["extracted"] for row in rows][:2] == ["14", "15"]
    assert rows[5]["extracted"] is None
    assert [{key: row[key] for key in good} for row, good in zip(rows, GOOD, strict=True)] == GOOD
    assert (counts.judged, counts.correct, counts.timed_out, counts.bad) == (10, 6, 0, 0)


def test_bad_rows_are_named_and_the_others_are_judged(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    lines = [line for bad, _ in BAD for line in (bad, json.dumps(GOOD[0]))]
    path.write_text("\n".join(lines))
    out = io.StringIO()
    with AnswerChecker(deadline_seconds=60) as checker:
        counts = judge_file(path, out, checker)
    assert (counts.judged, counts.correct, counts.bad) == (len(BAD), len(BAD), len(BAD))
    rows = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(rows) == 2 * len(BAD)
    for number, (_, rule) in enumerate(BAD):
        message = counts.errors[number]
        assert (
            message.startswith(f"{path} row {2 * number + 1}: ") and rule in message and "\n" not in message
        )
        assert rows[2 * number]["error"] == message and "correct" not in rows[2 * number]
        assert rows[2 * number + 1]["correct"] is True


def test_bytes_that_are_no_text_are_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    path.write_bytes(b"\xff\xfe\n" + json.dumps(GOOD[0]).encode() + b"\n")
    counts = judge_file(path, io.StringIO())
    assert (counts.judged, counts.bad) == (1, 1)


def test_a_missing_file_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        judge_file(tmp_path / "absent.jsonl", io.StringIO())
