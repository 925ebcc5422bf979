"""JSONL: what a row may say, what is read from it, and every way in which it can be bad."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mstar.answers.workers import SymbolicWorkers
from mstar.datasets import open_problems
from mstar.datasets.checking import check_problems
from mstar.errors import UserError
from mstar.records import ImageSource, Problem


def test_all_fields_are_read(jsonl, tmp_path):
    path = jsonl(
        {
            "id": "a",
            "question": "Wie groß?",
            "images": ["images/1.png", "/elsewhere/2.png"],
            "answer": "3.50",
            "answer_type": "number",
            "precision": 2.0,
            "unit": "cm",
            "source": "GeoQA",
        }
    )
    assert open_problems(path).read([0]) == [
        Problem(
            id="a",
            question="Wie groß?",
            images=(ImageSource(path=str(tmp_path / "images/1.png")), ImageSource(path="/elsewhere/2.png")),
            answer="3.50",
            answer_type="number",
            precision=2,
            unit="cm",
            source="GeoQA",
        )
    ]


def test_defaults_of_what_may_be_left_out(jsonl, row):
    (problem,) = open_problems(jsonl(row(), name="digits.jsonl")).read([0])
    assert problem == Problem("p1", "How many?", (), "14", "number", (), None, None, "digits")


def test_image_paths_are_absolute_even_for_a_relative_file(jsonl, row, tmp_path, monkeypatch):
    jsonl(row(image="a.png"))
    monkeypatch.chdir(tmp_path)
    (problem,) = open_problems("problems.jsonl").read([0])
    assert problem.images == (ImageSource(path=str(tmp_path / "a.png")),)


def test_choices_make_a_choice_and_numbers_in_them_become_text(jsonl, row):
    path = jsonl(row(choices=[12, 15.0, "18"], answer="15", answer_type=...))
    (problem,) = open_problems(path).read([0])
    assert (problem.answer_type, problem.choices) == ("choice", ("12", "15", "18"))


@pytest.mark.parametrize(
    ("answer", "answer_type", "text"),
    [
        (14, "number", "14"),
        (-3, "number", "-3"),
        (14.0, "number", "14"),
        (3.5, "number", "3.5"),
        (-0.0, "number", "0"),
        (100.0, "number", "100"),
        (1e21, "number", "1000000000000000000000"),
        (1e-7, "number", "0.0000001"),
        (True, "boolean", "yes"),
        (False, "boolean", "no"),
    ],
)
def test_answers_become_text_as_a_person_writes_them(jsonl, row, answer, answer_type, text):
    path = jsonl(row(answer=answer, answer_type=answer_type))
    assert open_problems(path).read([0])[0].answer == text


@pytest.mark.parametrize("image", [{"image": None}, {"images": None}, {"images": []}, {}])
def test_no_image(jsonl, row, image):
    assert open_problems(jsonl(row(**image))).read([0])[0].images == ()


def test_a_whole_number_may_be_the_id(jsonl, row):
    assert open_problems(jsonl(row(id=7))).ids == ("7",)


BAD_ROWS = [
    ({"id": ...}, "id is missing"),
    ({"id": None}, "id is null"),
    ({"id": "  "}, "id is empty"),
    ({"id": 1.5}, "id is 1.5; it must be text"),
    ({"id": True}, "id is true; it must be text"),
    ({"question": ...}, "question is missing"),
    ({"question": ["a"]}, 'question is ["a"]; it must be text'),
    ({"question": "\ud800"}, "question holds a broken character at position 1"),
    ({"answer": " "}, "answer is empty; write the gold answer, or null where there is none"),
    (
        {"answer": ..., "Anwser": "14"},
        'answer is missing, but there is "Anwser"; rename it, or add "answer": null',
    ),
    ({"answer": None, "answer_type": ...}, "answer_type is missing"),
    ({"answer": ["14"]}, 'answer is ["14"]; it must be text or a finite number'),
    ({"answer": float("nan")}, "answer is NaN; it must be text or a finite number"),
    ({"answer_type": ...}, "answer_type is missing; rows without choices need one of choice, number"),
    ({"answer_type": None}, "answer_type is null"),
    ({"answer_type": "numbr"}, 'answer_type is "numbr"; it must be one of choice, number'),
    ({"answer_type": "numbr"}, "(did you mean number?)"),
    ({"answer_type": 3}, "answer_type is 3; it must be one of"),
    ({"answer_type": ["number"]}, 'answer_type is ["number"]'),
    ({"choices": "A, B"}, 'choices is "A, B"; it must be a list of texts'),
    ({"choices": ["A", None]}, "choice 2 is null"),
    ({"choices": ["", "B"]}, "choice 1 is empty"),
    ({"choices": [["A"], "B"]}, 'choice 1 is ["A"]; it must be text or a finite number'),
    ({"precision": "two"}, 'precision is "two"; it must be a whole number of decimal places'),
    ({"precision": 1.5}, "precision is 1.5"),
    ({"precision": -1}, "precision is -1"),
    ({"precision": True}, "precision is true"),
    ({"precision": float("inf")}, "precision is Infinity"),
    ({"unit": 3}, "unit is 3; it must be text"),
    ({"source": {}}, "source is {}; it must be text"),
    ({"images": 5}, "image 1 is 5; it must be a path"),
    ({"images": ["a.png", None]}, "image 2 is null; it must be a path"),
    ({"images": [" "]}, 'image 1 is " "; it must be a path'),
    ({"images": ["a.png"], "image": "b.png"}, "images and image are both given; keep one of them"),
    ({"images": [{"bytes": None, "path": None}]}, "image 1 is {"),
    (
        {"images": ["a.png", "https://example.com/1.png"]},
        'image 2 is "https://example.com/1.png"; only files,',
    ),
    ({"images": [{"path": "gs://bucket/1.png"}]}, 'image 1 is "gs://bucket/1.png"; only files, bytes and s3'),
    ({"image": "data:image/png;base64,iVBO"}, "; download it beside the file"),
    ({"image": "s3://bucket/"}, 'image 1 is "s3://bucket/", which names no object; write s3://bucket/key'),
    ({"image": "iVBORw0K" * 600}, "image 1 is a text of 4,800 characters, no path; write Base64 as bytes"),
    ({"answer": "fourteen apples or so, maybe"}, "fourteen apples or so, maybe"),
    ({"choices": ["12", "15"], "answer": "99", "answer_type": "choice"}, "99"),
]


@pytest.mark.parametrize(("change", "reason"), BAD_ROWS)
def test_bad_rows_are_refused_and_found_and_hide_nothing(jsonl, row, change, reason):
    broken = row(**({"id": "bad"} | change))
    path = jsonl(row(id="first"), json.dumps(broken).encode(), row(id="last", answer=" "))
    with pytest.raises(UserError) as refusal:
        open_problems(path).read([1])
    message = str(refusal.value)
    assert reason in message
    assert f"{path}: row 2 (" in message
    assert message.endswith(f"; run `mstar problems check {path}` to see every bad row")
    assert "\n" not in message
    bad = check_problems(path).bad
    assert [flaw.row for flaw in bad] == [2, 3]
    assert reason in bad[0].reason
    assert bad[0].id == ("bad" if "id" not in change else None)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": "p2", ', "line 3 is not valid JSON (Expecting property name"),
        (b"p2", "line 3 is not valid JSON (Expecting value at column 1)"),
        (b'{"id": "caf\xe9"}', "line 3 is not UTF-8 text (byte 12)"),
        (b'["p2"]', 'line 3 is not an object such as {"id": ..., "question": ...}'),
        (
            b'{"id": "p2", "answer": "1", "answer": "2"}',
            "line 3 is not readable JSON (the key answer comes twice",
        ),
        (b"[" * 100_000, "line 3 is not readable JSON (maximum recursion depth"),
        (b'{"id": ' + b"9" * 5000 + b"}", "line 3 is not readable JSON (Exceeds the limit"),
    ],
)
def test_broken_lines_name_the_line_and_hide_nothing(jsonl, row, line, reason):
    path = jsonl(b"", row(id="first"), line, row(id="last"))
    result = check_problems(path)
    assert [(flaw.row, flaw.id) for flaw in result.bad] == [(2, None)]
    assert result.bad[0].reason.startswith(reason)
    assert result.answer_types == {"number": 2}
    with pytest.raises(UserError, match="row 2 .no id.: line 3 is not"):
        open_problems(path).read([0])


@pytest.fixture
def workers(monkeypatch) -> list[list[str]]:
    """What the worker processes that are started are asked."""
    asked = []
    real = SymbolicWorkers.ask
    monkeypatch.setattr(
        SymbolicWorkers, "ask", lambda self, *question: (asked.append(question), real(self, *question))[1]
    )
    return asked


def test_formulas_are_parsed_by_the_check_and_not_by_every_read(jsonl, row, workers):
    answers = ["x^2 + 1", "(", "x^2 + 1"]
    path = jsonl(*(row(id=str(id), answer=text, answer_type="expression") for id, text in enumerate(answers)))
    assert [problem.answer for problem in open_problems(path).read([0, 1, 2])] == answers
    assert workers == []
    (flaw,) = check_problems(path).bad
    assert str(flaw).startswith("row 2 (id 1): answer '(' of type expression cannot be parsed")
    assert [formula for _, formula in workers] == ["x^2 + 1", "("]


def test_prose_is_no_formula_to_any_reader(jsonl, row, workers):
    with pytest.raises(UserError, match="is prose, not an expression"):
        open_problems(jsonl(row(answer="a pretty flower", answer_type="expression"))).read([0])
    assert workers == []


@pytest.mark.parametrize("answer", [None, ...])
def test_problems_without_an_answer_are_unlabelled(jsonl, row, answer):
    file = open_problems(jsonl(row(id="a", answer=answer), row(id="b"), row(id="c", answer=answer, note="x")))
    assert [problem.answer for problem in file.read([0, 1, 2])] == [None, "14", None]
    assert file.unlabelled == ("a", "c")
    result = check_problems(file.path)
    assert (result.bad, result.unlabelled, result.answer_types) == ((), 2, {"number": 3})


def test_all_that_is_wrong_with_a_row_is_said_at_once(jsonl, row):
    (flaw,) = check_problems(jsonl(row(question=..., answer_type="sum", precision=-2))).bad
    assert str(flaw).startswith("row 1 (id p1): question is missing; answer_type is")
    assert "precision is -2" in flaw.reason


def test_ids_come_once(jsonl, row):
    path = jsonl(row(id="a"), row(id="b"), row(id="a"), row(id="a", question=None))
    with pytest.raises(UserError, match=r"row 3 \(id a\): this id was used before"):
        open_problems(path).read([0])
    first, second = check_problems(path).bad
    assert str(first) == "row 3 (id a): its id was used before, in row 1"
    assert str(second) == "row 4 (id a): question is null; its id was used before, in row 1"


def test_blank_lines_byte_order_mark_and_windows_line_ends(tmp_path, row):
    path = tmp_path / "windows.jsonl"
    lines = [json.dumps(row(id=id)).encode() for id in ("a", "b")]
    path.write_bytes(b"\xef\xbb\xbf" + lines[0] + b"\r\n\r\n  \n" + lines[1])
    file = open_problems(path)
    assert [problem.id for problem in file.read([0, 1])] == ["a", "b"]
    assert check_problems(path).bad == ()


def test_rows_come_in_the_order_asked_for(jsonl, row):
    file = open_problems(jsonl(*(row(id=f"p{number}", source=f"s{number % 2}") for number in range(5))))
    assert [problem.id for problem in file.read([3, 0, 3])] == ["p3", "p0", "p3"]
    assert file.read([]) == []
    assert (len(file), file.ids) == (5, ("p0", "p1", "p2", "p3", "p4"))
    assert file.sources == ("s0", "s1", "s0", "s1", "s0")


@pytest.mark.parametrize("rows", [[5], [-1], [0, 99]])
def test_rows_that_are_not_there(jsonl, row, rows):
    with pytest.raises(IndexError, match=r"rows are 0\.\.4"):
        open_problems(jsonl(*(row(id=str(number)) for number in range(5)))).read(rows)


def test_identity_follows_the_contents(jsonl, row, tmp_path):
    file = open_problems(jsonl(row()))
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(file.path.read_bytes())
    assert open_problems(copy).sha256 == file.sha256
    assert len(file.sha256) == 64
    copy.write_bytes(file.path.read_bytes().replace(b"14", b"15"))
    assert open_problems(copy).sha256 != file.sha256


@pytest.mark.parametrize("name", ["problems.jsonl", "problems.json"])
@pytest.mark.parametrize("contents", [b"", b"\n \n"])
def test_files_without_rows(tmp_path, name, contents):
    path = tmp_path / name
    path.write_bytes(contents)
    with pytest.raises(UserError, match="holds no problems|is not valid JSON"):
        open_problems(path)


@pytest.mark.parametrize("name", ["absent.jsonl", "absent", "*.parquet", "notes.txt", "x" * 300 + ".jsonl"])
def test_paths_that_lead_nowhere(tmp_path, name):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UserError) as refusal:
        open_problems(tmp_path / name)
    assert name in str(refusal.value)
    assert "\n" not in str(refusal.value)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(str.strip)
PATH = TEXT.filter(lambda path: not ("\0" in path or "://" in path or path.startswith("data:")))
ROWS = st.lists(
    st.fixed_dictionaries(
        {"id": TEXT, "question": TEXT, "answer": TEXT.map("x".__add__), "answer_type": st.just("text")},
        optional={
            "unit": TEXT,
            "source": TEXT,
            "precision": st.integers(0, 9),
            "images": st.lists(PATH, max_size=3),
        },
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda row: row["id"],
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=ROWS, ascii_only=st.booleans(), order=st.randoms())
def test_what_is_written_is_read(tmp_path: Path, rows, ascii_only, order):
    path = tmp_path / "round.jsonl"
    lines = [json.dumps(row, ensure_ascii=ascii_only) for row in rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    file = open_problems(path)
    wanted = list(range(len(rows)))
    order.shuffle(wanted)
    assert list(file.ids) == [row["id"] for row in rows]
    for row, problem in zip((rows[index] for index in wanted), file.read(wanted), strict=True):
        assert (problem.id, problem.question, problem.answer) == (row["id"], row["question"], row["answer"])
        assert (problem.unit, problem.precision) == (row.get("unit"), row.get("precision"))
        assert problem.source == row.get("source", "round")
        assert [image.path for image in problem.images] == [
            os.path.join(tmp_path, name) for name in row.get("images", [])
        ]


def test_several_accepted_answers(jsonl, row):
    path = jsonl(
        row(answer=..., answers=[12, "12.5"]), row(id="p2", answer=None, answers=["x"], answer_type="text")
    )
    file = open_problems(path)
    first, second = file.read([0, 1])
    assert (first.answer, first.other_answers) == ("12", ("12.5",))
    assert first.expected.answers == ("12", "12.5")
    assert (second.answer, second.other_answers, file.unlabelled) == ("x", (), ())


@pytest.mark.parametrize(
    "given, rule",
    [
        ({"answers": ["14", "15"]}, "answer and answers are both given; keep answer for one gold"),
        (
            {"answer": ..., "answers": []},
            r"answers is \[\]; it must be a list of one or more accepted answers",
        ),
        ({"answer": ..., "answers": "14"}, 'answers is "14"; it must be a list'),
        ({"answer": ..., "answers": ["14", None]}, "accepted answer 2 is null"),
        ({"answer": ..., "answers": ["14", "many"]}, "answer 'many' of type number is not one number"),
    ],
)
def test_accepted_answers_that_cannot_be_read(jsonl, row, given, rule):
    with pytest.raises(UserError, match=rule):
        open_problems(jsonl(row(**given))).read([0])


def test_golds_are_those_of_the_problems(jsonl, row):
    rows = [
        row(id="a", answer="B", answer_type=..., choices=["3", "4"], image="no such.png"),
        row(id="b", answer=None),
        row(id="c", answer=..., answers=[2, "2.0"], unit="cm", precision=1),
        row(id="d", answer="14"),
    ]
    file = open_problems(jsonl(*rows))
    fresh = file.golds([0, 1, 2])
    expected = {one.id: one.expected for one in file.read(range(4)) if one.answer is not None}
    assert file.golds(range(4)) == expected and expected.keys() == {"a", "c", "d"}
    assert fresh == {id: expected[id] for id in ("a", "c")}


def test_golds_that_cannot_be_read_are_named(jsonl, row):
    file = open_problems(jsonl(row(), row(id="p2", answer_type="sum")))
    with pytest.raises(UserError, match=r"row 2 \(id p2\): answer_type is"):
        file.golds([0, 1])
