"""`mstar datasets prepare` and `contamination`, driven as a user does, on published layouts in small."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, contextmanager
from pathlib import Path

import pytest
import yaml

from mstar.config import Data
from mstar.datasets import Reading, open_problems
from mstar.datasets.checking import check_problems
from mstar.errors import UserError
from mstar.presets import PRESETS
from mstar.presets.preparing import prepare as prepare_preset
from mstar.progress import Progress
from mstar.records import Problem
from tests.commands import mstar, start
from tests.hub import serve_hub
from tests.presets.conftest import (
    chats,
    drawing,
    five_test_sets,
    mathvista_row,
    parquet,
    write_files,
    write_mathv360k,
)

COMMIT = "1" * 40


def read(path: Path) -> list[Problem]:
    assert check_problems(path).bad == ()
    file = open_problems(path)
    return file.read(range(len(file)))


def read_ids(folder: Path, name: str) -> list[str]:
    return [one.id for one in read(folder / f"{name}.jsonl")]


def written(folder: Path, name: str) -> dict[str, object]:
    """What provenance.json says of a file."""
    found: dict[str, object] = json.loads((folder / "provenance.json").read_text())["files"][f"{name}.jsonl"]
    return found


def printed_settings(output: str) -> dict[str, object]:
    """The `data` section at the end of what prepare prints."""
    found: dict[str, object] = yaml.safe_load(output[output.index("data:\n") :])["data"]
    return found


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("zipped", [True, False])
def test_mathv360k(mathv360k: Callable[..., Path], tmp_path: Path, zipped: bool):
    source, output = mathv360k(80, zipped), tmp_path / "out"
    done = mstar("datasets", "prepare", "mathv360k", "--from", str(source), "--output", str(output))
    train, validation, heldout = (
        read(output / f"{name}.jsonl") for name in ("train", "validation", "heldout")
    )
    assert (len(train), len(validation), len(heldout)) == (64, 8, 8)
    assert {one.id for one in (*train, *validation, *heldout)} == {row["id"] for row in chats(80)}
    assert train[0].source == "TabMWP" and train[0].answer_type == "number"
    assert len(list((output / "images").rglob("*.png"))) == 20, "each image once"
    noted = written(output, "train")
    assert (noted["problems"], noted["set"]) == (64, "MathV360K")
    assert noted["sha256"] == hashlib.sha256((output / "train.jsonl").read_bytes()).hexdigest()
    json_file = (source / "train_samples_all_tuning.json").read_bytes()
    assert noted["made_from"] == {"train_samples_all_tuning.json": hashlib.sha256(json_file).hexdigest()}
    settings = printed_settings(done.stdout)
    assert settings["tests"] == {"heldout": f"{output}/heldout.jsonl"}
    assert Data.model_validate(settings).validation == f"{output}/validation.jsonl"


class Meeting(Progress):
    """Begins with the first file when another writer has come as far."""

    def __init__(self, both: threading.Barrier) -> None:
        self.both: threading.Barrier | None = both

    @contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        if self.both:
            self.both.wait(60)
            self.both = None
        with super().task(title, total, unit) as advance:
            yield advance


def test_the_same_source_gives_the_same_files(mathv360k: Callable[..., Path], tmp_path: Path):
    """Also when two write at once, of whom neither has found the other's files finished."""
    source, barrier = str(mathv360k()), threading.Barrier(2)

    def write(progress: Progress) -> None:
        prepare_preset(PRESETS["mathv360k"], {"mathv360k": source}, str(tmp_path / "both"), None, progress)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, [Meeting(barrier), Meeting(barrier)]))
    prepare = ["datasets", "prepare", "mathv360k", "--from", source, "--output"]
    mstar(*prepare, str(tmp_path / "alone"))
    assert contents(tmp_path / "alone") == contents(tmp_path / "both")


def test_what_is_prepared_stays_and_is_said_again(mathv360k: Callable[..., Path], tmp_path: Path):
    """Something else does not take its place."""
    output, source, other = tmp_path / "out", mathv360k(), write_mathv360k(tmp_path / "other", 40, False)
    prepare = ["datasets", "prepare", "mathv360k", "--output", str(output), "--from"]
    first = mstar(*prepare, str(source))
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    again = mstar(*prepare, str(source))
    assert printed_settings(again.stdout) == printed_settings(first.stdout)
    assert f"{output} holds just this already; it stays as it is" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before
    asked = {"other sources": [str(other)], "another --drop": [str(source), "--drop", "near"]}
    for because, arguments in asked.items():
        refused = mstar(*prepare, *arguments, check=False)
        assert refused.returncode == 2 and refused.stderr.count("\n") == 1
        assert f"with {because}; delete it, or name another with --output" in refused.stderr
    (output / "train.jsonl").write_text("")
    assert "files that were changed since" in mstar(*prepare, str(source), check=False).stderr
    (output / "provenance.json").write_text("{")
    assert "a damaged note" in mstar(*prepare, str(source), check=False).stderr


def test_two_that_write_other_files_do_not_both_end_well(mathv360k: Callable[..., Path], tmp_path: Path):
    source, output = str(mathv360k()), str(tmp_path / "out")

    class Overtaken(Progress):
        """Somebody else writes the training problems once they are there."""

        def note(self, line: str) -> None:
            if "train.jsonl" in line:
                (tmp_path / "out" / "train.jsonl").write_text("of somebody else")

    with pytest.raises(UserError, match=r"train.jsonl was written by somebody else meanwhile"):
        prepare_preset(PRESETS["mathv360k"], {"mathv360k": source}, output, None, Overtaken())
    assert not (tmp_path / "out" / "provenance.json").exists()


def test_m_star_with_duplicates_dropped(mathv360k: Callable[..., Path], tmp_path: Path):
    sources = [f"--from=mathv360k={mathv360k(80)}"]
    for name, files in five_test_sets().items():
        sources.append(f"--from={name}={write_files(tmp_path / name, files)}")
    prepare = ("datasets", "prepare", "m-star", *sources)
    done = mstar(*prepare, "--output", str(tmp_path / "whole"))
    settings = Data.model_validate(printed_settings(done.stdout))
    assert list(settings.tests)[:2] == ["heldout", "mathvista"], "the in-distribution one is the first"
    mstar(*prepare, "--output", str(tmp_path / "screened"), "--drop", "near")
    whole, screened = (read(tmp_path / name / "train.jsonl") for name in ("whole", "screened"))
    drawn = {
        one.id for name in ("validation", "heldout") for one in read(tmp_path / "whole" / f"{name}.jsonl")
    }
    repeated = {"identity_8", "identity_13"}
    assert not repeated & drawn, "the sample is no good: what is repeated was drawn"
    assert {one.id for one in whole} - {one.id for one in screened} >= repeated
    provenance = json.loads((tmp_path / "screened" / "provenance.json").read_text())
    assert provenance["matches"]["mathvista"] == {"exact": 1, "near": 1, "image": 10}
    lines = (tmp_path / "whole" / "contamination.jsonl").read_text().splitlines()
    notes = [json.loads(line) for line in lines]
    assert {"kind": "near", "problem": "identity_13", "test": "mathvista", "test_problem": "2"} in notes
    tests = [name for name in provenance["files"] if name not in ("train.jsonl", "validation.jsonl")]
    assert tests == [
        "mathvista.jsonl",
        "m3cot.jsonl",
        "mmstar.jsonl",
        "mmstar-reasoning.jsonl",
        "mmbench.jsonl",
        "mmbench-reasoning.jsonl",
        "ai2d.jsonl",
        "heldout.jsonl",
    ]
    (reasoning,) = read(tmp_path / "whole" / "mmbench-reasoning.jsonl")
    assert (reasoning.id, reasoning.source) == ("5", "logic_reasoning")


def scienceqa(number: int, split: str) -> dict[str, object]:
    row: dict[str, object] = {"question": f"Which {number}?", "choices": ["ice", "oil"], "answer": 0}
    row |= {"hint": "", "image": "image.png", "subject": "natural science", "lecture": "", "solution": ""}
    return row | {"split": split, "task": "t", "grade": "g", "topic": "t", "category": "c", "skill": "s"}


def test_scienceqa_as_its_authors_publish_it(tmp_path: Path):
    splits = {"1": "train", "2": "val", "3": "test", "4": "test"}
    files = {f"{split}/{pid}/image.png": drawing(int(pid)) for pid, split in splits.items()}
    rows = {pid: scienceqa(int(pid), split) for pid, split in splits.items()}
    folder = write_files(tmp_path / "data", files | {"problems.json": json.dumps(rows).encode()})
    mstar("datasets", "prepare", "scienceqa", "--from", str(folder), "--output", str(tmp_path / "out"))
    ids = {
        name: [one.id for one in read(tmp_path / "out" / f"{name}.jsonl")] for name in ("train", "validation")
    }
    assert ids == {"train": ["1"], "validation": ["2"]}
    assert [(one.id, one.answer) for one in read(tmp_path / "out" / "scienceqa.jsonl")] == [
        ("3", "A"),
        ("4", "A"),
    ]


def test_geometry3k_as_its_authors_publish_it(tmp_path: Path):
    files = {}
    for number, split in enumerate(("train", "train", "val", "test")):
        document = {"id": number, "problem_text": f"Find x_{number}.", "choices": ["11", "12", "13", "14"]}
        document |= {"answer": "C", "compact_choices": ["11"], "problem_type_graph": ["Triangle"]}
        files[f"{split}/{number}/data.json"] = json.dumps(document).encode()
        files[f"{split}/{number}/img_diagram.png"] = drawing(number)
    folder = write_files(tmp_path / "Geometry3K", files)
    mstar("datasets", "prepare", "geometry3k", "--from", str(folder), "--output", str(tmp_path / "out"))
    train = read(tmp_path / "out" / "train.jsonl")
    assert [(one.id, one.answer, len(one.choices)) for one in train] == [("0", "C", 4), ("1", "C", 4)]
    assert [one.id for one in read(tmp_path / "out" / "geometry3k.jsonl")] == ["3"]
    made_from = json.loads((tmp_path / "out" / "provenance.json").read_text())["files"]["train.jsonl"][
        "made_from"
    ]
    assert list(made_from) == ["data.json"]


def test_images_in_the_midst_of_questions(tmp_path: Path):
    image = {"bytes": drawing(1), "path": None}
    rows = [{"images": [image], "problem": f"In <image> find x_{n}.", "answer": str(n)} for n in range(2)]
    files = {f"{split}.parquet": parquet(rows) for split in ("train", "validation", "test")}
    folder = write_files(tmp_path / "set", files)
    done = mstar(
        "datasets", "prepare", "geometry3k", "--from", str(folder), "--output", str(tmp_path / "out")
    )
    settings = Data.model_validate(printed_settings(done.stdout))
    file = open_problems(
        settings.train, Reading(columns={str(key): name for key, name in settings.columns.items()})
    )
    assert [(one.question, list(one.image_places)) for one in file.read([1])] == [("In  find x_1.", [3])]


def test_ai2d_as_its_authors_publish_it(tmp_path: Path):
    questions = {
        "What eats grass?": {"abcLabel": False, "answerTexts": ["hawk", "rabbit"], "correctAnswer": 1}
        | {"questionId": "0.png-0"},
        "What is A?": {"abcLabel": True, "answerTexts": ["sun", "moon"], "correctAnswer": 0}
        | {"questionId": "0.png-1"},
    }
    document = json.dumps({"imageName": "0.png", "questions": questions}).encode()
    files = {"questions/0.png.json": document, "images/0.png": drawing(0), "abc_images/0.png": drawing(1)}
    folder = write_files(tmp_path / "ai2d", files)
    mstar("datasets", "prepare", "ai2d", "--from", str(folder), "--output", str(tmp_path / "out"))
    first, second = read(tmp_path / "out" / "ai2d.jsonl")
    assert (first.id, first.answer, second.answer) == ("0.png-0", "B", "A")
    assert Path(str(second.images[0].path)).read_bytes() == drawing(1), "the image with letters"


def test_geoqa_as_its_authors_publish_it(tmp_path: Path):
    files = {}
    for number in range(20):
        document = {
            "subject": f"如图,∠{number}=50°,则∠EGF等于()",
            "choices": ["50°", "55°", "60°", "65°"],
            "label": 3,
        }
        document |= {"id": number, "answer": "解", "formal_point": ["A"]}
        files[f"GeoQA3/json/{number}.json"] = json.dumps(document).encode()
        files[f"GeoQA3/image/{number}.png"] = drawing(number)
    folder = write_files(tmp_path / "data", files)
    mstar("datasets", "prepare", "geoqa", "--from", str(folder), "--output", str(tmp_path / "out"))
    sizes = {
        name: len(read(tmp_path / "out" / f"{name}.jsonl")) for name in ("train", "validation", "heldout")
    }
    assert sizes == {"train": 16, "validation": 2, "heldout": 2}
    one = read(tmp_path / "out" / "train.jsonl")[0]
    assert (one.answer, one.answer_type, one.choices[3]) == ("D", "choice", "65°")
    assert one.question == f"如图,∠{one.id}=50°,则∠EGF等于()"
    assert Path(str(one.images[0].path)).read_bytes() == drawing(int(one.id))


def test_from_the_hub_with_its_commit(tmp_path: Path):
    with serve_hub(tmp_path / "hub") as hub:
        files = five_test_sets()["mathvista"] | {"images.zip": b"gigabytes"}
        hub.add("datasets", "AI4Math/MathVista", COMMIT, files)
        prepare_from(hub.address, "mathvista", tmp_path)
    assert not any("images.zip" in asked for asked in hub.asked), "fetched though every row has its image"
    assert (
        written(tmp_path / "mathvista", "mathvista")["address"]
        == f"hf://datasets/AI4Math/MathVista@{COMMIT}/data/testmini-*.parquet"
    )
    assert [one.answer for one in read(tmp_path / "mathvista" / "mathvista.jsonl")] == ["9", "14", "1", "1"]


def test_an_archive_of_the_hub(tmp_path: Path):
    files = {path.name: path.read_bytes() for path in write_mathv360k(tmp_path / "set", 40, True).iterdir()}
    with serve_hub(tmp_path / "hub") as hub:
        hub.add("datasets", "Zhiqiang007/MathV360K", COMMIT, files)
        prepare_from(hub.address, "mathv360k", tmp_path)
    assert len(read(tmp_path / "mathv360k" / "train.jsonl")) == 32
    assert len(list((tmp_path / "mathv360k" / "images").rglob("*.png"))) == 10


def prepare_from(hub: str, name: str, folder: Path) -> None:
    environment = {"HF_ENDPOINT": hub, "HF_HUB_CACHE": str(folder / "cache"), "HF_HUB_DISABLE_XET": "1"}
    with pytest.MonkeyPatch.context() as patch, chdir(folder):
        for variable, value in environment.items():
            patch.setenv(variable, value)
        mstar("datasets", "prepare", name)


def test_rows_that_cannot_be_used_are_named(tmp_path: Path):
    rows = [
        mathvista_row(1, "What is it?", "1", drawing(1)),
        mathvista_row(2, "What is it?", "1", b"no image"),
        mathvista_row(3, "", "1", drawing(2)),
    ]
    folder = write_files(tmp_path / "set", {"testmini.parquet": parquet(rows)})
    done = mstar("datasets", "prepare", "mathvista", "--from", str(folder), "--output", str(tmp_path / "out"))
    assert "mathvista.jsonl: 1 problem, 2 rows left out" in done.stdout
    left_out = json.loads((tmp_path / "out" / "provenance.json").read_text())["files"]["mathvista.jsonl"][
        "left_out"
    ]
    assert left_out["rows"] == 2
    assert left_out["because"] == [
        "row 2 (id 2): embedded image (8 bytes) is no image file of a known format",
        "row 3 (id 3): question is empty",
    ]


def test_a_damaged_archive(mathv360k: Callable[..., Path], tmp_path: Path):
    source = mathv360k(80)
    archive = source / "data_images.zip"
    data = bytearray(archive.read_bytes())
    place = data.index(b"IDAT")
    data[place : place + 8] = b"\0" * 8
    archive.write_bytes(data)
    prepare = ("datasets", "prepare", "mathv360k", "--from", str(source), "--output", str(tmp_path / "out"))
    mstar(*prepare)
    names = ("train", "validation", "heldout")
    assert sum(len(read_ids(tmp_path / "out", name)) for name in names) == 76, "four are about that image"
    assert "data_images.zip (Bad CRC-32 for file" in (tmp_path / "out" / "provenance.json").read_text()
    (tmp_path / "out" / "provenance.json").unlink()
    archive.write_bytes(data[: len(data) // 2])
    refused = mstar(*prepare, check=False)
    assert refused.returncode == 2 and "is no whole zip file" in refused.stderr


def test_what_a_killed_process_left_goes_with_the_next(mathv360k: Callable[..., Path], tmp_path: Path):
    source, output = mathv360k(400), tmp_path / "out"
    prepare = ("datasets", "prepare", "mathv360k", "--from", str(source), "--output")
    killed = start(*prepare, str(output))
    while not list(output.rglob("*.part")):
        assert killed.is_alive()
        time.sleep(0.001)
    killed.kill()
    killed.join()
    assert list(output.rglob("*.part")) and not (output / "provenance.json").exists()
    mstar(*prepare, str(output))
    mstar(*prepare, str(tmp_path / "undisturbed"))
    assert contents(output) == contents(tmp_path / "undisturbed")
    assert not (output / ".scratch").exists()


def test_ids_that_come_again_get_a_number(tmp_path: Path):
    rows = [mathvista_row(1, f"What is {number}?", "1", drawing(1)) for number in range(3)]
    folder = write_files(tmp_path / "set", {"testmini.parquet": parquet(rows)})
    mstar("datasets", "prepare", "mathvista", "--from", str(folder), "--output", str(tmp_path / "out"))
    assert read_ids(tmp_path / "out", "mathvista") == ["1", "1#2", "1#3"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prepare", "mathvsita"], "there is no preset mathvsita; it must be one of m-star, mathv360k"),
        (["prepare", "mathvista", "--from", "nowhere"], "nowhere holds none of data/testmini-*.parquet"),
        (["prepare", "m-star", "--from", "somewhere"], "write SET=ADDRESS, once for each set"),
        (["prepare", "mathvista", "--drop", "all"], "--drop is all; it must be one of exact, near, image"),
        (["contamination", "a.jsonl", "b.jsonl", "--drop", "near"], "--drop needs --output FOLDER"),
        (["contamination", "a.jsonl", "b.jsonl"], "a.jsonl does not exist"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
):
    monkeypatch.chdir(tmp_path)
    done = mstar("datasets", *arguments, check=False)
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("provenance.json"))


def test_contamination_of_ones_own_files(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(drawing(1))
    (tmp_path / "b.bmp").write_bytes(drawing(1, "BMP"))
    facts = {"answer": "1", "answer_type": "number"}
    train = [
        {"id": "p1", "question": "Find x.", "image": "a.png"},
        {"id": "p2", "question": "Find y.", "image": "a.png"},
        {"id": "p3", "question": "Find z."},
    ]
    test = [{"id": "t1", "question": "find x", "image": "b.bmp"}]
    for name, rows in (("train", train), ("test", test)):
        lines = [json.dumps(row | facts) + "\n" for row in rows]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    files = [str(tmp_path / f"{name}.jsonl") for name in ("train", "test")]
    found = mstar("datasets", "contamination", *files, check=False)
    assert found.returncode == 1
    assert found.stdout == (
        f"training problems that stand in {files[1]}: nearly 1, by an image, with another question, 1\n"
    )
    mstar("datasets", "contamination", *files, "--drop", "near", "--output", str(tmp_path / "out"))
    assert [one.id for one in read(tmp_path / "out" / "train.jsonl")] == ["p2", "p3"]
    again = mstar("datasets", "contamination", str(tmp_path / "out" / "train.jsonl"), files[1])
    assert "nearly" not in again.stdout


def test_every_preset_is_listed_with_address_and_licence():
    listed = mstar("datasets", "list").stdout
    assert len(PRESETS) >= 11
    for preset in PRESETS.values():
        assert f"{preset.name}: {preset.summary}\n" in listed
        for published in preset.sets:
            assert published.address in listed and published.licence in listed
            assert published.address.startswith("hf://datasets/")
