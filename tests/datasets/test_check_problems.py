"""The check of a whole file: what it counts, and what it prints."""

import io
import subprocess
import sys

import pytest
from rich.console import Console

from mstar.datasets import checking
from mstar.datasets.check_lines import print_check
from mstar.datasets.checking import CheckResult, Flaw, check_problems
from mstar.records import Problem


@pytest.fixture
def mixed(jsonl, row, tmp_path, picture):
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "b.png").write_bytes(picture(kind="JPEG"))
    (tmp_path / "cut.png").write_bytes(picture()[:-30])
    return jsonl(
        row(id="p1", source="GeoQA"),
        row(id="p2", image="a.png", source="GeoQA"),
        row(id="p3", images=["a.png", "b.png"], answer="no", answer_type="boolean"),
        row(id="p4", images=["lost.png", "a.png", "cut.png"]),
        row(id="p5", image="lost.png"),
        row(id="p6", anwser="14", note="x"),
        row(id="p7", note="x"),
    )


def test_counts_and_flaws(mixed):
    result = check_problems(mixed)
    assert result.rows == 7
    assert result.answer_types == {"number": 4, "boolean": 1}
    assert result.sources == {"problems": 3, "GeoQA": 2}
    assert result.images == {"0": 3, "1": 1, "several": 1}
    assert result.unknown_keys == {"note": 2, "anwser": 1}
    assert result.nearest_keys == {"anwser": "answer"}
    missing, gone = result.bad
    assert str(missing).startswith(
        "row 4 (id p4): image lost.png is missing; image cut.png is cut off or damaged ("
    )
    assert gone == Flaw(5, "p5", "image lost.png is missing")


def test_a_shared_image_is_decoded_once(jsonl, row, tmp_path, picture, monkeypatch):
    decoded = []
    real = checking.decode_image
    monkeypatch.setattr(checking, "decode_image", lambda image: (decoded.append(image.path), real(image))[1])
    (tmp_path / "a.png").write_bytes(picture())
    assert check_problems(jsonl(*(row(id=str(number), image="a.png") for number in range(9)))).bad == ()
    assert decoded == [str(tmp_path / "a.png")]


def test_a_sample_of_a_large_file_is_looked_into(jsonl, row, tmp_path, picture, monkeypatch):
    decoded = []
    real = checking.decode_image
    monkeypatch.setattr(checking, "decode_image", lambda image: (decoded.append(image.path), real(image))[1])
    rows = [row(id=str(number), image=f"{number}.png") for number in range(40)]
    for number in range(40):
        (tmp_path / f"{number}.png").write_bytes(picture())
    path = jsonl(*rows, *(row(id=f"bad{number}", question=None) for number in range(3)))
    asked = []
    results = [check_problems(path, lambda problem: asked.append(problem.id), sample=10) for _ in range(2)]
    assert results[0] == results[1]
    half = len(asked) // 2
    assert 7 <= half <= 10 and asked[:half] == asked[half:] and len(decoded) == len(asked)
    assert (results[0].rows, results[0].answer_types, len(results[0].bad)) == (43, {"number": 40}, 3)
    assert printed(results[0]).splitlines()[-2] == "checked 10 of 43 rows with the model"
    assert printed(check_problems(path, sample=1)).splitlines()[-2] == (
        "checked 1 of 43 rows for images and formulas"
    )
    assert len(check_problems(path, sample=1000).bad) == 3


def test_what_the_model_cannot_read_is_a_flaw(mixed):
    def too_long(problem: Problem) -> str | None:
        return f"its prompt has {len(problem.id)} tokens" if problem.id in ("p2", "p4") else None

    result = check_problems(mixed, too_long)
    assert [flaw.row for flaw in result.bad] == [2, 4, 5]
    assert str(result.bad[0]) == "row 2 (id p2): its prompt has 2 tokens"
    assert "tokens" not in result.bad[1].reason, "the model is asked about rows that are good otherwise"
    assert printed(result).splitlines()[-2] == "checked 7 of 7 rows with the model"


def test_unlabelled_problems_are_counted(jsonl, row):
    path = jsonl(row(id="a", answer=None))
    assert printed(check_problems(path)).splitlines()[-2:] == [
        "unlabelled: 1 problem",
        f"{path}: 1 row, 1 good, 0 bad",
    ]


def test_embedded_images_are_decoded(tmp_path, row, picture):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        row(id=str(number), images=images)
        for number, images in enumerate([[picture()], [picture(), b"junk"], [b""]])
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    result = check_problems(tmp_path / "t.parquet")
    assert [str(flaw) for flaw in result.bad] == [
        "row 2 (id 1): image 2 is no image file of a known format",
        "row 3 (id 2): image 1 is empty",
    ]


def test_importing_is_cheap():
    heavy = ("torch", "transformers", "rich", "sympy", "pyarrow.compute")
    code = f"import sys, mstar.datasets; print([name for name in {heavy} if name in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


def printed(result: CheckResult, **options: object) -> str:
    console = Console(file=io.StringIO(), width=40, **options)
    print_check(result, console)
    return console.file.getvalue()


def test_plain_output_has_a_line_for_every_bad_row(mixed):
    lines = printed(check_problems(mixed)).splitlines()
    assert lines[:2] == ["answer type number: 4 problems", "answer type boolean: 1 problem"]
    assert "source GeoQA: 2 problems" in lines
    assert "images per problem several: 1 problem" in lines
    assert "ignored key anwser: 1 row; did you mean answer?" in lines
    assert "ignored key note: 2 rows" in lines
    assert [line[:16] for line in lines if line.startswith("row ")] == [
        "row 4 (id p4): i",
        "row 5 (id p5): i",
    ]
    assert lines[-1] == f"{mixed}: 7 rows, 5 good, 2 bad"


def test_all_of_many_bad_rows_are_printed(jsonl, row):
    path = jsonl(*(row(id=f"p{number}", question=None) for number in range(3000)))
    lines = printed(check_problems(path)).splitlines()
    assert [line for line in lines if line.startswith("row ")] == [
        f"row {number + 1} (id p{number}): question is null" for number in range(3000)
    ]


def test_a_terminal_gets_tables(mixed):
    text = printed(check_problems(mixed), force_terminal=True, color_system=None)
    assert "┃ problems ┃" in text
    assert "row 5 (id p5): image lost.png is missing" in text


def test_hostile_names_stay_on_their_line(jsonl, row):
    path = jsonl(row(id="[red]\n\x1b[2J", question=None), row(id="ok", source="[bold]a\nb"))
    for options in ({}, {"force_terminal": True}):
        text = printed(check_problems(path), **options)
        assert r"row 1 (id [red]\n\x1b[2J): question is null" in text
        assert "[bold]a" in text
        assert "\x1b[2J" not in text


def test_what_is_odd_but_usable_is_named_and_good(jsonl, row):
    choices = ["cat", "dog", "cat"]
    result = check_problems(
        jsonl(
            row(id="p1"),
            row(id="p2", answer="A", answer_type="choice", choices=choices),
            row(id="p3", answer="ff", answer_type="choice", choices=["Ff", "ff"]),
            row(id="p4", answer="E", answer_type="choice", choices=choices),
        )
    )
    assert [flaw.row for flaw in result.bad] == [4]
    assert [str(flaw) for flaw in result.odd] == [
        "row 2 (id p2): choices A and C are both 'cat'",
        "row 3 (id p3): choices A and B differ in case only: 'Ff'",
    ]
    print_check(result, Console(file=(out := io.StringIO()), width=200))
    assert "odd but usable, row 2 (id p2): choices A and C are both 'cat'" in out.getvalue()
    assert "odd but usable: 2 golds or choices" in out.getvalue()
    assert "4 rows, 3 good, 1 bad" in out.getvalue()
