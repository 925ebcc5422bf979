"""Published data sets: small samples in their true forms: columns, types, how answers and images are kept."""

import base64
import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mstar.answers import AnswerChecker
from mstar.datasets import load_image, open_problems, parse_columns
from mstar.datasets.checking import check_problems
from mstar.datasets.files import Reading
from mstar.datasets.formats import BY_NAME, FORMATS, LOOSE_FORMATS, known_format
from mstar.datasets.rows import OWN_ROWS
from mstar.errors import UserError
from mstar.records import Problem

IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def hub_image(data: bytes) -> dict[str, object]:
    """As `datasets` writes a column of type Image."""
    return {"bytes": data, "path": None}


def write_parquet(path: Path, rows: list[dict], **types: pa.DataType) -> Path:
    table = pa.Table.from_pylist(rows)
    for name, kind in types.items():
        table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
    pq.write_table(table, path)
    return path


def read(path: Path, **reading: object) -> list[Problem]:
    file = open_problems(path, Reading(**reading))
    assert check_problems(path, reading=Reading(**reading)).bad == ()
    return file.read(range(len(file)))


def shown(problem: Problem) -> tuple[object, ...]:
    return problem.id, problem.question, problem.choices, problem.answer, problem.answer_type, problem.source


def m3cot_row(**more: object) -> dict:
    row = {"id": "physics-825", "category": "physics", "image_id": "physics-825", "context": ""}
    row |= {"question": "Which is heavier?", "choices": ["iron", "cork"], "answer": "A", "split": "test"}
    return row | {"rationale": "Iron is denser.", "domain": "science", "topic": "natural-science"} | more


def test_m3cot_of_the_hub(tmp_path, picture):
    rows = [
        m3cot_row(image=hub_image(picture())),
        m3cot_row(id="m-2", image=hub_image(picture()), context="Two blocks lie on a scale.", answer="B"),
        m3cot_row(id="m-3", image=None),
    ]
    first, second, third = read(write_parquet(tmp_path / "test-00000-of-00001.parquet", rows))
    assert shown(first) == (
        "physics-825",
        "Which is heavier?",
        ("iron", "cork"),
        "A",
        "choice",
        "science",
    )
    assert second.question == "Two blocks lie on a scale.\nWhich is heavier?"
    assert load_image(first.images[0]).size == (8, 6) and third.images == ()


def test_m3cot_as_json_lines(tmp_path, picture):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "physics-825.png").write_bytes(picture())
    rows = [m3cot_row(), m3cot_row(id="none", image=None)]
    path = tmp_path / "test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = read(path)
    assert load_image(first.images[0]).size == (8, 6)
    assert second.images == () and first.answer == "A"


def scienceqa_row(**more: object) -> dict:
    row = {"question": "Which is a solid?", "choices": ["water", "ice"], "answer": 1, "hint": ""}
    row |= {"task": "closed choice", "grade": "grade2", "subject": "natural science", "topic": "chemistry"}
    return row | {"category": "c", "skill": "s", "lecture": "Solids ...", "solution": "Ice is."} | more


def test_scienceqa_of_the_hub(tmp_path, picture):
    rows = [
        scienceqa_row(image=hub_image(picture())),
        scienceqa_row(image=None, hint="Think of winter.", answer=0),
    ]
    path = write_parquet(tmp_path / "test-00000-of-00001-f0e719df791966ff.parquet", rows, answer=pa.int8())
    first, second = read(path)
    assert shown(first) == (
        "row-1",
        "Which is a solid?",
        ("water", "ice"),
        "B",
        "choice",
        "natural science",
    )
    assert second.question == "Think of winter.\nWhich is a solid?"
    assert (second.answer, second.images) == ("A", ())
    assert open_problems(path).ids == ("row-1", "row-2")


def test_scienceqa_problems_json_holds_all_splits(tmp_path):
    path = tmp_path / "problems.json"
    path.write_text(json.dumps({"1": scienceqa_row(image="image.png", split="train")}))
    with pytest.raises(UserError, match=r"several splits.*mstar datasets prepare"):
        open_problems(path)


@pytest.mark.parametrize(
    ("options", "choices"),
    [
        ("\nOptions: A: 3, B: 5, C: 7, D: 9", ("3", "5", "7", "9")),
        ("\nOptions: A: Yes, it is, B: No, it is not", ("Yes, it is", "No, it is not")),
        ("\nOptions: A: ratio 1: 2, B: ratio A: 3", ("ratio 1: 2", "ratio A: 3")),
        ("\nOptions: (A) left, (B) right", ("left", "right")),
    ],
)
def test_mmstar_of_the_hub(tmp_path, picture, options, choices):
    row = {"index": 7, "question": "How many?" + options, "image": picture(), "answer": "B"}
    row |= {"category": "math", "l2_category": "geometry"}
    row["meta_info"] = {"source": "MathVista", "split": "testmini", "image_path": "images/7.jpg"}
    (problem,) = read(write_parquet(tmp_path / "mmstar.parquet", [row]))
    assert shown(problem) == ("7", "How many?", choices, "B", "choice", "math")
    assert load_image(problem.images[0]).size == (8, 6)


def mmbench_row(**more: object) -> dict:
    row = {"index": 241, "question": "What follows?", "hint": None, "A": "one", "B": "two", "C": "three"}
    row |= {"D": None, "answer": "C", "category": "structuralized_imagetext_understanding", "source": "kiva"}
    return row | {"L2-category": "logic_reasoning", "comment": None, "split": "dev"} | more


def test_mmbench_of_the_hub(tmp_path, picture):
    rows = [
        mmbench_row(image=hub_image(picture())),
        mmbench_row(index=242, image=hub_image(picture()), hint="Look at the bars.", D="nan", answer="B"),
        mmbench_row(index=243, image=hub_image(picture()), answer=None),
    ]
    first, second, third = read(write_parquet(tmp_path / "dev-00000-of-00001.parquet", rows))
    assert shown(first) == (
        "241",
        "What follows?",
        ("one", "two", "three"),
        "C",
        "choice",
        "logic_reasoning",
    )
    assert second.question == "Look at the bars.\nWhat follows?" and second.choices == ("one", "two", "three")
    assert third.answer is None


def test_mmbench_with_base64_text(tmp_path, picture):
    text = base64.b64encode(picture()).decode()
    assert len(text) > 64
    (problem,) = read(write_parquet(tmp_path / "validation.parquet", [mmbench_row(image=text)]))
    assert load_image(problem.images[0]).size == (8, 6)


def test_tsv_as_pandas_writes_it(tmp_path, picture):
    text = base64.b64encode(picture()).decode()
    lines = [
        "index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage\tl2-category\tsplit",
        '0\t"A ""quoted"" question\nover two lines\tand a tab?"\t\tone\ttwo\t\t\tA\tx'
        f"\t{text}\tlogic_reasoning\tdev",
        "1\tWhat follows?\tA hint\tone\ttwo\tthree\tfour\tD\tx\t0\tlogic_reasoning\tdev",
    ]
    path = tmp_path / "MMBench_DEV_EN.tsv"
    path.write_text("\n".join(lines) + "\n")
    first, second = read(path)
    assert first.question == 'A "quoted" question\nover two lines\tand a tab?'
    assert (first.choices, first.answer, first.source) == (("one", "two"), "A", "logic_reasoning")
    assert (second.question, second.answer) == ("A hint\nWhat follows?", "D")
    assert load_image(second.images[0]).size == (8, 6), "the image of the row that it names"
    again = open_problems(path)
    assert again.read([1]) == [second] and again.ids == ("0", "1")


def test_tsv_without_answers(tmp_path):
    """The test splits of MMBench."""
    path = tmp_path / "MMBench_TEST_EN.tsv"
    path.write_text("index\tquestion\tA\tB\n0\tHow?\tone\ttwo\n")
    (problem,) = read(path)
    assert (problem.answer, problem.choices) == (None, ("one", "two"))


def test_tsv_that_is_cut_off(tmp_path):
    path = tmp_path / "cut.tsv"
    path.write_text("index\tquestion\tanswer\tA\tB\n0\tHow?\tA\tone\ttwo\n1\tHow?\tA\n")
    (flaw,) = check_problems(path).bad
    assert str(flaw) == "row 2 (no id): line 3 has 3 fields; the header has 5"
    path.write_text("index\tquestion\tA\n")
    with pytest.raises(UserError, match="no column"):
        open_problems(path)


def test_ai2d_of_the_hub(tmp_path, picture):
    rows = [
        {"question": "What eats grass?", "options": ["hawk", "rabbit"], "answer": "1"}
        | {"image": hub_image(picture())}
    ]
    (problem,) = read(write_parquet(tmp_path / "test-00000-of-00002.parquet", rows))
    assert shown(problem)[1:5] == ("What eats grass?", ("hawk", "rabbit"), "B", "choice")
    assert problem.id == "row-1"


def test_geometry3k_of_the_hub(tmp_path, picture):
    images = [hub_image(picture())]
    rows = [
        {"images": images, "problem": "<image>Find x.", "answer": "12"},
        {"images": images, "problem": "<image>Find y.", "answer": "2 \\sqrt { 221 }"},
    ]
    first, second = read(write_parquet(tmp_path / "train-00000-of-00001.parquet", rows))
    assert (first.question, first.answer, first.answer_type) == ("Find x.", "12", "number")
    assert (second.id, second.answer_type, list(second.image_places)) == ("row-2", "number", [0])
    with AnswerChecker() as checker:
        assert checker.check(second.expected, "Answer: 2\\sqrt{221}").correct
    rows = [row | {"id": 7, "choices": ["11", "12"], "ground_truth": "B"} for row in rows[:1]]
    (third,) = read(write_parquet(tmp_path / "test-00000-of-00001.parquet", rows))
    assert (third.id, third.answer, third.choices) == ("7", "B", ("11", "12"))


def test_geo170k(tmp_path, picture):
    (tmp_path / "images" / "geo3k").mkdir(parents=True)
    (tmp_path / "images" / "geo3k" / "1.png").write_bytes(picture())

    def chat(asked: str, answered: str) -> dict:
        turns = [{"from": "human", "value": f"<image>\n{asked}"}, {"from": "gpt", "value": answered}]
        return {"image": "geo3k/1.png", "conversations": turns}

    reasoning = (
        "First perform reasoning, then finally select the question from the choices in the following "
        "format: Answer: xxx.\nQuestion:"
    )
    chats = [
        chat(
            "In triangle ABC, AB = AC. Find angle B.\nChoices:\nA: 80°\nB: 60°\nC: 50°\nD: 40°",
            "The angles sum to 180°, so angle B is 40°.\nAnswer:D",
        ),
        chat(f"{reasoning}Find the radius.\nChoices: A. 3 B. 4", "It is half of 8. The answer is B."),
    ]
    path = tmp_path / "qa_tuning.json"
    path.write_text(json.dumps(chats))
    first, second = read(path)
    assert shown(first) == (
        "row-1",
        "In triangle ABC, AB = AC. Find angle B.",
        ("80°", "60°", "50°", "40°"),
        "D",
        "choice",
        "geo3k",
    )
    assert (second.question, second.choices, second.answer) == ("Find the radius.", ("3", "4"), "B")


def test_geoqa_with_tagged_solutions(tmp_path, picture):
    row = {"image": hub_image(picture()), "problem": "Find angle C.", "solution": "<answer> 145° </answer>"}
    (problem,) = read(write_parquet(tmp_path / "train-00000-of-00001.parquet", [row]))
    assert (problem.question, problem.answer, problem.answer_type) == ("Find angle C.", "145°", "number")


def test_columns_of_ones_own_come_before_loose_formats(tmp_path, picture):
    path = write_parquet(
        tmp_path / "own.parquet",
        [{"question": "What?", "options": ["cat", "dog"], "answer": "dog", "image": hub_image(picture())}],
    )
    (problem,) = read(path, columns=parse_columns(["choices=options"]))
    assert (problem.answer, problem.choices) == ("dog", ("cat", "dog"))


def test_published_sets_stand_beside_files_with_columns_of_ones_own(tmp_path, picture):
    path = write_parquet(tmp_path / "dev.parquet", [mmbench_row(image=hub_image(picture()))])
    (problem,) = read(path, columns=parse_columns(["question=problem", "answer=solution"]))
    assert (problem.question, problem.answer) == ("What follows?", "C")


def test_every_format_is_told_by_its_own_marks_and_mstar_rows_are_no_other():
    assert len(BY_NAME) == len(FORMATS) + len(LOOSE_FORMATS) >= 10
    for format in (*FORMATS, *LOOSE_FORMATS):
        assert format.marks and known_format(format.marks, OWN_ROWS) is format
    assert known_format(OWN_ROWS.known, OWN_ROWS) is OWN_ROWS


def test_an_earlier_reading_of_the_same_file_is_another_identity(tmp_path):
    """M3CoT's columns could be read as mstar's own before; a run that did must be told."""
    path = write_parquet(tmp_path / "test-00000-of-00001.parquet", [m3cot_row(image=None)])
    file = open_problems(path)
    assert file.format.name == "M3CoT" and file.identity != file.sha256


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_csv_as_spreadsheets_write_it(tmp_path, picture, delimiter):
    """A byte order mark, lines that end in two letters, quotes, and empty cells for what is not there."""
    (tmp_path / "1.png").write_bytes(picture(1))
    lines = [
        ["id", "question", "answer", "answer_type", "image", "unit"],
        ["1", '"What; ""ü"",\r\nis it?"', "2", "number", "1.png", "cm"],
        ["", "", "", "", "", ""],
        ["2", "Which?", "", "text", "", ""],
        ["", "", "", "", "", ""],
    ]
    path = tmp_path / "own.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "".join(delimiter.join(line) + "\r\n" for line in lines).encode())
    assert check_problems(path).bad == ()
    first, second = open_problems(path).read([0, 1])
    assert (first.question, first.answer, first.unit) == ('What; "ü",\r\nis it?', "2", "cm")
    assert [image.path for image in first.images] == [str(tmp_path / "1.png")]
    assert (second.answer, second.images, second.unit) == (None, (), None)


@pytest.mark.parametrize(("name", "delimiter"), [("own.csv", ","), ("own.csv", ";"), ("own.tsv", "\t")])
def test_a_quote_in_the_midst_of_a_cell_swallows_no_rows(tmp_path, name, delimiter):
    """Inches and seconds, as programs write them that quote nothing: `A 5" screen`."""
    lines = [
        ["id", "question", "answer", "answer_type"],
        ["1", 'A 5" screen?', "2", "number"],
        ["2", "Which?", "3", "number"],
        ["3", '"A ""quoted""\none, 1"" wide?"', "4", "number"],
        ["4", "Last?", "5", "number"],
    ]
    path = tmp_path / name
    path.write_text("".join(delimiter.join(line) + "\n" for line in lines))
    assert check_problems(path).bad == ()
    found = [(one.question, one.answer) for one in read(path)]
    assert found == [
        ('A 5" screen?', "2"),
        ("Which?", "3"),
        ('A "quoted"\none, 1" wide?', "4"),
        ("Last?", "5"),
    ]


def test_all_keys_can_be_given_in_csv(tmp_path):
    """Lists as JSON, numbers as digits: a cell holds nothing but text."""
    path = tmp_path / "own.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(
            ["id", "question", "answer", "answers", "answer_type", "choices", "precision", "images"]
        )
        table.writerow(["1", "Which?", "y", "", "", '["x", "y"]', "", '["a.png", "b.png"]'])
        table.writerow(["2", "How long?", "", '["1.50", "1.5"]', "number", "", "2", ""])
        table.writerow(["3", "How long?", "2.5", "", "number", "", "1.0", "[1].png"])
        table.writerow(["4", "Which?", "y", "", "", "['x', 'y']", "1.5", ""])
    first, second, third = open_problems(path).read(range(3))
    assert (first.choices, len(first.images), first.answer_type) == (("x", "y"), 2, "choice")
    assert (second.answer, second.other_answers, second.precision) == ("1.50", ("1.5",), 2)
    assert (third.precision, third.images[0].path) == (1, str(tmp_path / "[1].png"))
    reason = check_problems(path).bad[-1].reason
    assert 'in CSV as ["x", "y"]' in reason and 'precision is "1.5"' in reason


def test_a_table_in_another_alphabet_is_one_line(tmp_path):
    path = tmp_path / "own.csv"
    path.write_bytes("id,frägë\n1,2\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"names of its columns in UTF-8 .*; save it as UTF-8") as raised:
        open_problems(path)
    assert "\n" not in str(raised.value)
