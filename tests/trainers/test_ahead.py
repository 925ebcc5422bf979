"""Problems that are read for the batches to come: the same ones, in a few passes over their file."""

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mstar.datasets import open_problems
from mstar.datasets.held import PROBLEM_BYTES, problem_bytes
from mstar.records import Response
from mstar.response_parts import write_responses
from mstar.trainers import Lesson
from mstar.trainers.ahead import ProblemsAhead
from mstar.trainers.policy import open_policy
from mstar.trainers.rows import LessonRows
from tests.trainers.conftest import TEXTS, MakeConfig

TOTAL, LARGE = 600, range(0, 600, 50)


@pytest.fixture
def problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Some of them twenty times as large as the others; nothing is kept of what was read."""
    monkeypatch.setattr("mstar.datasets.problem_file.HELD_BYTES", 0)
    monkeypatch.setattr("mstar.datasets.table_rows.BATCH_BYTES", 0)
    rows = [
        {
            "id": f"p{number}",
            "question": f"3 + {number}",
            "answer": "7",
            "answer_type": "number",
            "image": {"bytes": b"x" * PROBLEM_BYTES * 20, "path": None} if number in LARGE else None,
        }
        for number in range(TOTAL)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    return tmp_path / "p.parquet"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Grows by one whenever a Parquet file is opened."""
    opened, real = [], pq.ParquetFile

    def counting(*arguments: Any, **options: Any) -> Any:
        opened.append(arguments)
        return real(*arguments, **options)

    monkeypatch.setattr(pq, "ParquetFile", counting)
    return opened


def batches_of(rows: range, size: int) -> list[list[int]]:
    order = list(rows)
    random.Random(3).shuffle(order)
    return [order[start : start + size] for start in range(0, len(order), size)]


def test_windows_are_as_large_as_there_is_room_for(
    problems: Path, opened: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 100 * (PROBLEM_BYTES + 10)
    monkeypatch.setattr("mstar.trainers.ahead.AHEAD_BYTES", room)
    file = open_problems(problems)
    ahead, expected, done = ProblemsAhead(file), file.read(range(TOTAL)), 0
    ahead.read(range(1, 9))  # of small ones
    batches, windows = batches_of(range(TOTAL), 20), []
    opened.clear()
    while done < len(batches):
        windows.append(ahead.fill(batches[done:]))
        assert sum(map(problem_bytes, ahead.held.problems.values())) <= room
        for batch in batches[done : done + windows[-1]]:
            assert ahead.read(batch) == [expected[row] for row in batch]
        done += windows[-1]
    assert done == len(batches) and max(windows) > 2
    assert windows[0] == 5  # what is large was not expected
    large = sum(row in LARGE for batch in batches for row in batch)
    assert len(opened) <= len(windows) + 2 * large


def test_where_there_is_no_room_one_batch_is_read_at_a_time(
    problems: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mstar.trainers.ahead.AHEAD_BYTES", 0)
    ahead = ProblemsAhead(open_problems(problems))
    assert ahead.fill([[4, 2], [3]]) == 1
    assert not ahead.held.problems
    assert [problem.id for problem in ahead.read([4, 2])] == ["p4", "p2"]
    assert ahead.fill([]) == 0


@pytest.mark.parametrize("at_once", [1, 100])
@pytest.mark.parametrize("held, ahead", [(1 << 30, 1 << 29), (1 << 19, 1 << 18), (0, 0)])
def test_a_lesson_reads_the_same_rows_in_turn(
    make_config: MakeConfig,
    tiny: Path,
    problems: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    held: int,
    ahead: int,
    at_once: int,
) -> None:
    """However much of it is kept and read ahead, and also where it begins in the middle."""
    rows = tuple(row for row in range(TOTAL) if row not in LARGE) * 2
    selected = tmp_path / "selected.parquet"
    texts = [TEXTS[place % len(TEXTS)] for place in range(len(rows))]
    write_responses(selected, [Response("p", 0, text, 1, False, 1.0) for text in texts])
    encoder = open_policy(tiny, make_config()).encoder
    lesson = Lesson(tiny, False, None, str(problems), (selected,), rows, 0)
    whole, batches = LessonRows(lesson, encoder), batches_of(range(len(rows)), 32)
    monkeypatch.setattr("mstar.trainers.rows.HELD_BYTES", held)
    monkeypatch.setattr("mstar.trainers.ahead.AHEAD_BYTES", ahead)
    bounded = LessonRows(lesson, encoder)
    found = list(bounded.read_in_turn(batches[3:], at_once))
    assert len(found) == len(batches) - 3
    for batch, own in zip(batches[3:], found, strict=True):
        expected = whole.read(batch)
        assert [(row.encoded.ids, row.labels) for row in own] == [
            (row.encoded.ids, row.labels) for row in expected
        ]
    assert list(bounded.read_in_turn([])) == []


def test_a_lesson_that_does_not_fit_takes_a_few_passes_over_its_file(
    make_config: MakeConfig,
    tiny: Path,
    problems: Path,
    tmp_path: Path,
    opened: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = tuple(row for row in range(TOTAL) if row not in LARGE)
    selected = tmp_path / "selected.parquet"
    write_responses(selected, [Response("p", 0, TEXTS[0], 1, False, 1.0) for _ in rows])
    encoder = open_policy(tiny, make_config()).encoder
    monkeypatch.setattr("mstar.trainers.rows.HELD_BYTES", 1 << 19)
    lesson = LessonRows(Lesson(tiny, False, None, str(problems), (selected,), rows, 0), encoder)
    batches = batches_of(range(len(rows)), 10)
    opened.clear()
    for batch in batches:
        lesson.read(batch)
    assert 0 < len(lesson.held) < len(rows)
    assert len(opened) > len(batches) / 2
    opened.clear()
    list(lesson.read_in_turn(batches))
    assert len(opened) <= 2
