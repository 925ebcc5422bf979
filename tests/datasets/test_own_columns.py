"""Files whose columns have names of the user's own."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mstar.config import Prompt
from mstar.datasets import Reading, open_problems, parse_columns
from mstar.datasets.checking import check_problems
from mstar.errors import UserError
from mstar.prompts import build_request
from mstar.records import Problem
from tests.commands import mstar

COLUMNS = {"question": "problem", "answer": "solution", "image": "picture"}
READING = Reading(columns=COLUMNS)
Row = dict[str, object]


def write(path: Path, rows: list[Row]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(params=["own.jsonl", "own.parquet"])
def path(request: pytest.FixtureRequest, tmp_path: Path, picture: Callable[..., bytes]) -> Path:
    (tmp_path / "1.png").write_bytes(picture())
    rows: list[Row] = [
        {"problem": "How many?", "solution": "14", "picture": "1.png"},
        {"problem": "Is it?", "solution": "no", "picture": None},
        {"problem": "Which colour?", "solution": "dark red", "picture": None},
        {"problem": "What is it?", "solution": None, "picture": None},
    ]
    return write(tmp_path / str(request.param), rows)


def test_columns_are_read_under_their_names(path: Path, settled: None) -> None:
    for _ in range(2):
        file = open_problems(path, READING)
        assert file.ids == ("row-1", "row-2", "row-3", "row-4")
        read = file.read(range(4))
        assert [one.question for one in read] == ["How many?", "Is it?", "Which colour?", "What is it?"]
        assert [one.answer for one in read] == ["14", "no", "dark red", None]
        assert [one.answer_type for one in read] == ["number", "boolean", "text", "text"]
        assert [image.path for image in read[0].images] == [str(path.parent / "1.png")]
        assert file.unlabelled == ("row-4",)
        assert [one.id for one in file.read([3, 1])] == ["row-4", "row-2"]
    assert not check_problems(path, reading=READING).bad


def test_ids_and_types_that_are_there_stay(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"key": "a", "q": "Which?", "answer": "B", "options": ["1", "2"], "source": "s"},
        {"key": 7, "q": "How long?", "answer": "3", "answer_type": "text"},
        {"key": None, "q": "How wide?", "answer": "4"},
    ]
    columns = {"id": "key", "question": "q", "choices": "options"}
    read = open_problems(write(tmp_path / "own.jsonl", rows), Reading(columns=columns)).read(range(3))
    assert [one.id for one in read] == ["a", "7", "row-3"]
    assert [one.answer_type for one in read] == ["choice", "text", "number"]
    assert read[0].choices == ("1", "2") and read[0].source == "s"


def test_files_in_our_own_keys_are_read_as_ever(tmp_path: Path) -> None:
    """A test set of another origin beside training problems with names of their own."""
    rows: list[Row] = [{"id": "x", "question": "How many?", "answer": "1", "answer_type": "number"}]
    for name in ("ours.jsonl", "ours.parquet"):
        path = write(tmp_path / name, [row | {"picture": "a.png"} for row in rows])
        assert open_problems(path, Reading(columns={"question": "problem"})).read([0]) == (
            open_problems(path).read([0])
        )


def test_parts_number_their_rows_on(tmp_path: Path) -> None:
    for number in range(2):
        rows: list[Row] = [{"problem": f"{number}{row}?", "solution": "1"} for row in range(3)]
        write(tmp_path / f"part-{number}.parquet", rows)
    file = open_problems(tmp_path, Reading(columns={"question": "problem", "answer": "solution"}))
    assert file.ids == tuple(f"row-{number}" for number in range(1, 7))
    assert [(one.id, one.question) for one in file.read([1, 4])] == [("row-2", "01?"), ("row-5", "11?")]


@pytest.mark.parametrize("name", ["own.jsonl", "own.parquet"])
@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"question": "problem", "image": "pictrue"}, "has no column pictrue"),
        ({"question": "problem", "answer": "soluton"}, "soluton"),
        ({"question": "porblem", "answer": "solution"}, "porblem"),
    ],
)
def test_a_column_that_is_not_there_is_one_line(
    tmp_path: Path, name: str, columns: dict[str, str], said: str
) -> None:
    path = write(tmp_path / name, [{"problem": "How many?", "solution": "1", "picture": "1.png"}])
    given = [part for pair in columns.items() for part in ("--column", "=".join(pair))]
    done = mstar("problems", "check", str(path), *given, check=False)
    told = done.stderr.splitlines() or done.stdout.splitlines()
    assert done.returncode == 2 and any(said in line and "problem" in line for line in told)
    with pytest.raises(UserError, match=said):
        open_problems(path, Reading(columns=columns)).read([0])
        open_problems(path, Reading(columns=columns)).ids  # noqa: B018


def test_a_key_that_is_none_is_one_line(tmp_path: Path) -> None:
    done = mstar("problems", "check", str(tmp_path), "--column", "quetsion=problem", check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --column is quetsion=problem; write KEY=NAME")


def test_a_key_that_comes_twice_is_one_line() -> None:
    with pytest.raises(UserError, match="--column is question=a, question=b; name each key once"):
        parse_columns(["question=a", "question=b"])


def contents(problem: Problem) -> list[object]:
    [message] = build_request(problem, Prompt(version="question-1")).messages
    return [item.get("text", "IMAGE") for item in message["content"]]


@pytest.mark.parametrize(
    ("question", "images", "expected"),
    [
        ("How many?", 2, ["IMAGE", "IMAGE", "How many?"]),
        ("<image>\nHow many?", 1, ["IMAGE", "How many?"]),
        ("How many?\n<image>", 1, ["How many?\n", "IMAGE"]),
        ("Is <image> larger than <image>?", 2, ["Is ", "IMAGE", " larger than ", "IMAGE", "?"]),
        ("<image><image> Same?", 2, ["IMAGE", "IMAGE", "Same?"]),
        ("<image>\nIs it like <image>?", 2, ["IMAGE", "Is it like ", "IMAGE", "?"]),
    ],
)
def test_images_stand_where_the_question_has_them(
    tmp_path: Path, question: str, images: int, expected: list[object]
) -> None:
    row: Row = {
        "problem": question,
        "solution": "1",
        "pictures": [f"{number}.png" for number in range(images)],
    }
    columns = {"question": "problem", "answer": "solution", "images": "pictures"}
    file = open_problems(write(tmp_path / "own.jsonl", [row]), Reading(columns=columns))
    assert contents(file.read([0])[0]) == expected
    assert file.read([0], images=False)[0].question == file.read([0])[0].question


def test_as_many_placeholders_as_images(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"problem": "<image> and <image>?", "solution": "1", "picture": "0.png"},
        {"problem": "<image>?", "solution": "1"},
    ]
    flaws = check_problems(write(tmp_path / "own.jsonl", rows), reading=READING).bad
    assert [str(flaw) for flaw in flaws] == [
        "row 1 (id row-1): question has 2 <image>, and the row 1 images; make them as many",
        "row 2 (id row-2): question has 1 <image>, and the row 0 images; make them as many",
    ]


def test_without_the_setting_a_placeholder_is_text(tmp_path: Path) -> None:
    row: Row = {"id": "a", "question": "<image>?", "answer": "1", "answer_type": "number", "image": "0.png"}
    [problem] = open_problems(write(tmp_path / "ours.jsonl", [row])).read([0])
    assert contents(problem) == ["IMAGE", "<image>?"]
