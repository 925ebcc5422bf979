"""MathV360K and MathVista: small samples in their published forms, read in detail."""

import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mstar.datasets import load_image, open_problems
from mstar.datasets.checking import check_problems
from mstar.errors import UserError
from mstar.records import ImageSource, Problem

CHOICE_HINT = (
    "Hint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, at the end."
)
FREE_HINT = "Hint: Please answer the question and provide the final answer at the end."


def chat(id: str, image: str, question: str, answer: str) -> dict:
    turns = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
    return {"id": id, "image": image, "conversations": turns}


@pytest.fixture
def mathv360k(tmp_path, picture):
    """Writes a file of chats with all their images under data_images."""

    def write(*chats: object):
        for entry in chats:
            if isinstance(entry, dict) and "image" in entry:
                image = tmp_path / "data_images" / entry["image"]
                image.parent.mkdir(parents=True, exist_ok=True)
                image.write_bytes(picture())
        path = tmp_path / "train_samples_all_tuning.json"
        path.write_text(json.dumps(chats, ensure_ascii=False), encoding="utf-8")
        return path

    return write


@pytest.fixture
def mathv360k_sample(mathv360k):
    geometry = chat(
        "identity_0",
        "Geometry3K/images/1.png",
        f"{CHOICE_HINT}\nQuestion: Find x.\nChoices:\n(A) 12\n(B) 15\n(C) 18\n(D) 21",
        "The answer is B",
    )
    table = chat(
        "identity_1", "TabMWP/images/2.png", f"{FREE_HINT}\nQuestion: How much is it?", "The answer is $38.51"
    )
    figure = chat("identity_2", "FigureQA/images/3.png", "Is Cyan the minimum?", "Answer: yes")
    science = chat("identity_3", "ScienceQA/images/4.png", "Which shape — 形?", "The answer is Cylindrical.")
    return mathv360k(geometry, table, figure, science)


def test_mathv360k_sample(mathv360k_sample, tmp_path):
    file = open_problems(mathv360k_sample)

    def image(path: str) -> tuple[ImageSource, ...]:
        return (ImageSource(path=str(tmp_path / "data_images" / path)),)

    first = Problem(
        "identity_0", "Find x.", image("Geometry3K/images/1.png"), "B", "choice", ("12", "15", "18", "21")
    )
    assert file.read(range(4)) == [
        replace(first, source="Geometry3K"),
        Problem(
            "identity_1", "How much is it?", image("TabMWP/images/2.png"), "$38.51", "number", source="TabMWP"
        ),
        Problem(
            "identity_2",
            "Is Cyan the minimum?",
            image("FigureQA/images/3.png"),
            "yes",
            "boolean",
            source="FigureQA",
        ),
        Problem(
            "identity_3",
            "Which shape — 形?",
            image("ScienceQA/images/4.png"),
            "Cylindrical",
            "text",
            source="ScienceQA",
        ),
    ]
    assert file.ids == ("identity_0", "identity_1", "identity_2", "identity_3")
    assert file.sources == ("Geometry3K", "TabMWP", "FigureQA", "ScienceQA")


def test_a_check_of_mathv360k_finds_nothing_wrong(mathv360k_sample):
    result = check_problems(mathv360k_sample)
    assert result.bad == ()
    assert result.answer_types == {"choice": 1, "number": 1, "boolean": 1, "text": 1}
    assert result.unknown_keys == {}


@pytest.mark.parametrize(
    ("listed", "answer", "choices", "gold"),
    [
        ("\nChoices:\n(A) 12 (B) 15", "The answer is B", ("12", "15"), "B"),
        (" Choices: (A) 12 (B) 15", "A", ("12", "15"), "A"),
        ("\nChoices:\n(A) 12\n(B) 15", "The answer is (B)", ("12", "15"), "B"),
        ("\nChoices:\n(A) 12\n(B) 15", "The answer is (B) 15", ("12", "15"), "B"),
        ("\nChoices:\n(A) 12\n(B) 15", "The answer is: B.", ("12", "15"), "B"),
        ("\nChoices:\n(A) cat\n(B) dog", "Answer: Dog", ("cat", "dog"), "B"),
        (
            "\nChoices:\n(A) P(B) + 1\n(B) P(A)\n(C) 2.5 cm",
            "The answer is C",
            ("P(B) + 1", "P(A)", "2.5 cm"),
            "C",
        ),
        ("\nOptions:\n(A) left\n(B) right", "B", ("left", "right"), "B"),
        ("\nChoices:\n(A) C\n(B) A\n(C) B", "The answer is B", ("C", "A", "B"), "B"),
    ],
)
def test_mathv360k_choices(mathv360k, listed, answer, choices, gold):
    (problem,) = open_problems(mathv360k(chat("i", "X/1.png", "Find x." + listed, answer))).read([0])
    assert (problem.question, problem.choices) == ("Find x.", choices)
    assert (problem.answer_type, problem.answer) == ("choice", gold)


@pytest.mark.parametrize(
    ("question", "answer", "kind", "gold"),
    [
        ("Pick.\nChoices:\n(A) 12\n(B) 15", "The answer is 99", "number", "99"),
        ("Pick.\nChoices:\n(A) 12\n(B) 15", "The answer is D", "text", "D"),
        ("Pick.\nChoices:\n(A) 12\n(B) 12", "The answer is 12", "number", "12"),
        ("Pick.\nChoices:\n(A) 12", "The answer is A", "text", "A"),
        ("Pick.\nChoices: the red or the blue", "The answer is red", "text", "red"),
        ("When?", "The answer is 12.", "number", "12"),
        ("When?", "The answer is 12.5", "number", "12.5"),
        ("When?", "The answer is a.m.", "text", "a.m."),
        ("Is it?", "The answer is No.", "boolean", "No"),
        ("Call?", "The answer is 866-680-0146", "text", "866-680-0146"),
        ("What?", "Answering machine", "text", "Answering machine"),
        ("What?", "Answer is here", "text", "here"),
    ],
)
def test_mathv360k_answers_that_are_no_choice(mathv360k, question, answer, kind, gold):
    (problem,) = open_problems(mathv360k(chat("i", "X/1.png", question, answer))).read([0])
    assert (problem.question, problem.choices) == (question, ())
    assert (problem.answer_type, problem.answer) == (kind, gold)


def test_mathv360k_bad_rows(mathv360k, tmp_path):
    good = chat("good", "X/1.png", "How many?", "The answer is 3")
    no_answer = chat("blank", "X/1.png", "How many?", "The answer is")
    one_turn = {"id": "half", "image": "X/1.png", "conversations": good["conversations"][:1]}
    lost = chat("lost", "X/lost.png", "How many?", "3")
    path = mathv360k(good, no_answer, one_turn, "text", lost, good | {"id": 4, "weight": 1}, good)
    (tmp_path / "data_images/X/lost.png").unlink()
    result = check_problems(path)
    assert [(flaw.row, flaw.id) for flaw in result.bad] == [
        (2, "blank"),
        (3, "half"),
        (4, None),
        (5, "lost"),
        (7, "good"),
    ]
    reasons = [flaw.reason for flaw in result.bad]
    assert reasons[0] == "answer is empty; write the gold answer, or null where there is none"
    assert reasons[1].endswith('it needs a turn {"from": "gpt", "value": "..."}')
    assert "is not an object" in reasons[2]
    assert reasons[3] == "image data_images/X/lost.png is missing"
    assert reasons[4] == "its id was used before, in row 1"
    assert (result.sources, result.unknown_keys) == ({"X": 2}, {"weight": 1})
    with pytest.raises(UserError, match="row 4 .no id."):
        open_problems(path).read([0])


def test_mathv360k_images_beside_the_file(tmp_path):
    path = tmp_path / "chats.json"
    path.write_text(json.dumps([chat("i", "X/1.png", "How many?", "3")]))
    assert open_problems(path).read([0])[0].images == (ImageSource(path=str(tmp_path / "X/1.png")),)


def vista(pid: str, **changes: object) -> dict:
    metadata = {
        "source": "SciBench",
        "split": "testmini",
        "language": "english",
        "img_width": 8,
        "skills": ["algebra"],
    }
    row = {"pid": pid, "question": "How far?", "image": f"images/{pid}.png", "choices": None, "unit": None}
    row |= {"precision": None, "answer": "4", "question_type": "free_form", "answer_type": "integer"}
    return row | {"query": "Hint: ...", "metadata": metadata} | changes


VISTA = [
    vista("1", answer="1.2", answer_type="float", precision=1.0, unit="m"),
    vista("2", answer="4", metadata={"source": "CLEVR-Math"}),
    vista(
        "3",
        question="∠BOC＝（）",
        choices=["135°", "145°"],
        answer="145°",
        question_type="multi_choice",
        answer_type="text",
    ),
    vista("4", answer="[2007, 2008]", answer_type="list"),
    vista("5", answer="Yes", answer_type="text"),
    vista("6", answer="Tadpole", answer_type="text"),
]


def check_vista(problems: list[Problem]) -> None:
    assert [problem.id for problem in problems] == ["1", "2", "3", "4", "5", "6"]
    types = [(problem.answer_type, problem.answer) for problem in problems]
    assert types[:3] == [("number", "1.2"), ("number", "4"), ("choice", "B")]
    assert types[3:] == [("list", "[2007, 2008]"), ("boolean", "Yes"), ("text", "Tadpole")]
    assert [problem.precision for problem in problems] == [1, None, None, None, None, None]
    assert [problem.unit for problem in problems] == ["m", None, None, None, None, None]
    assert problems[2].choices == ("135°", "145°")
    assert problems[2].question == "∠BOC＝（）"
    assert [problem.source for problem in problems[:2]] == ["SciBench", "CLEVR-Math"]
    assert all(len(problem.images) == 1 for problem in problems)


@pytest.mark.parametrize("with_pid", [True, False])
def test_mathvista_annotations(tmp_path, picture, with_pid):
    (tmp_path / "images").mkdir()
    for row in VISTA:
        (tmp_path / str(row["image"])).write_bytes(picture())
    path = tmp_path / "testmini.json"
    rows = {
        row["pid"]: {key: value for key, value in row.items() if with_pid or key != "pid"} for row in VISTA
    }
    path.write_text(json.dumps(rows, indent=4))
    file = open_problems(path)
    problems = file.read(range(6))
    check_vista(problems)
    assert problems[0].images == (ImageSource(path=str(tmp_path / "images/1.png")),)
    assert file.ids == ("1", "2", "3", "4", "5", "6")
    assert file.sources[:2] == ("SciBench", "CLEVR-Math")
    result = check_problems(path)
    assert (result.bad, result.unknown_keys) == ((), {})
    assert result.answer_types == {"number": 2, "choice": 1, "list": 1, "boolean": 1, "text": 1}


def test_mathvista_snapshot(tmp_path, picture):
    data = picture()
    decoded = pa.array(
        [{"bytes": data, "path": None}] * len(VISTA),
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    rows = [
        row | {"choices": row["choices"] or [], "metadata": {"source": row["metadata"]["source"]}}
        for row in VISTA
    ]
    table = pa.Table.from_pylist(rows).append_column("decoded_image", decoded)
    table = table.set_column(
        table.column_names.index("precision"), "precision", table["precision"].cast(pa.float64())
    )
    (tmp_path / "data").mkdir()
    part = tmp_path / "data/testmini-00000-of-00001-725687bf7a18d64b.parquet"
    pq.write_table(table, part)
    file = open_problems(tmp_path)
    problems = file.read(range(6))
    check_vista(problems)
    assert problems[3].images == (ImageSource(data=data),)
    assert load_image(problems[3].images[0]).size == (8, 6)
    assert file.sources[:2] == ("SciBench", "CLEVR-Math")
    result = check_problems(part)
    assert (result.bad, result.unknown_keys) == ((), {})


def test_mathvista_choices_that_are_letters(tmp_path):
    rows = [vista("1", choices=["B", "A"], answer="A", question_type="multi_choice", answer_type="text")]
    path = tmp_path / "testmini.json"
    path.write_text(json.dumps({"1": rows[0]}))
    assert open_problems(path).read([0])[0].answer == "B"


def test_mathvista_problems_without_a_public_answer(tmp_path):
    rows = [
        vista("1", answer="", image="1.png"),
        vista("2", answer="", choices=["4", "5"], question_type="multi_choice", image="1.png"),
    ]
    path = tmp_path / "test.json"
    path.write_text(json.dumps({row["pid"]: row for row in rows}))
    problems = open_problems(path).read([0, 1])
    assert [(one.answer, one.answer_type) for one in problems] == [(None, "number"), (None, "choice")]


def test_mathvista_bad_rows(tmp_path, picture):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/1.png").write_bytes(picture())
    shared = {"image": "images/1.png"}
    rows = [
        vista("1", answer="a dozen", **shared),
        vista("2", answer_type="matrix", **shared),
        vista("3", answer="160°", choices=["135°", "145°"], question_type="multi_choice", **shared),
        vista("4", answer_type=None, **shared),
        vista("5", precision="1.5", **shared),
        vista("6"),
        vista("7", **shared),
    ]
    path = tmp_path / "test.json"
    path.write_text(json.dumps({row["pid"]: row for row in rows}))
    result = check_problems(path)
    assert [flaw.row for flaw in result.bad] == [1, 2, 3, 4, 5, 6]
    assert [flaw.id for flaw in result.bad] == ["1", "2", "3", "4", "5", "6"]
    for flaw, said in zip(
        result.bad,
        [
            "a dozen",
            'answer_type is "matrix"',
            "160°",
            "answer_type is null",
            'precision is "1.5"',
            "is missing",
        ],
        strict=True,
    ):
        assert said in flaw.reason


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"id": 1}', "is not valid JSON (Expecting ',' at line 1 column 11)"),
        ('[{"id": 1}]]', "is not valid JSON (Extra data at line 1 column 12)"),
        ('{"1": {}, 2: {}}', "is not valid JSON (Expecting a key in double quotes at line 1"),
        ('{"1" {}}', "is not valid JSON (Expecting ':' at line 1 column 6)"),
        ("[\n1,\n]", "is not valid JSON (Expecting value at line 3 column 1)"),
        ("", "is not valid JSON (Expecting a list or an object at line 1 column 1)"),
        ('"text"', "is not valid JSON (Expecting a list or an object"),
        ("[" * 100_000, "is not readable JSON (maximum recursion depth"),
        ("[]", "holds no problems"),
        ("{}", "holds no problems"),
        ("[1, 2]", "is neither MathV360K's list"),
        ('[{"id": "a", "question": "b"}]', "its keys are id, question; write other problems as .jsonl"),
    ],
)
def test_json_that_is_neither(tmp_path, text, said):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(UserError) as refusal:
        open_problems(path)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_row_of_json_that_is_not_utf8_hides_nothing(tmp_path, picture):
    (tmp_path / "X").mkdir()
    (tmp_path / "X/1.png").write_bytes(picture())
    rows = [chat(id, "X/1.png", f"Où est {id}?", "3") for id in ("première", "zweite", "third")]
    text = "\ufeff" + json.dumps(rows, ensure_ascii=False, indent=1)
    path = tmp_path / "x.json"
    path.write_bytes(text.encode().replace("Où est zweite".encode(), "Où est zweite".encode("latin-1")))
    (flaw,) = check_problems(path).bad
    assert flaw.row == 2
    assert "is not UTF-8 text (byte " in flaw.reason
    path.write_text(text, encoding="utf-8")
    assert [problem.question for problem in open_problems(path).read([2, 0])] == [
        "Où est third?",
        "Où est première?",
    ]
