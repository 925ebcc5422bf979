"""The index and the identity: what they notice, what they remember, and that nothing depends on the cache."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mstar.datasets import ProblemFile, image_hashes, open_problems, opening
from mstar.datasets.overlap import shared_problems
from mstar.errors import UserError


@pytest.fixture
def folder(jsonl, row, tmp_path, picture) -> Path:
    """A folder with problems of every kind of label, three image files, and one that is missing."""
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(picture((number, 0, 0)))
    jsonl(
        row(id="a", image="0.png", source="s"),
        b"",
        row(id="b", images=["1.png", "0.png"], answer=None),
        row(id="c", image="lost.png", question="Why \u00e9?"),
        row(id="d", image=str(tmp_path / "2.png"), source="s"),
        row(id="e"),
    )
    return tmp_path


def facts(file: ProblemFile) -> tuple[object, ...]:
    return (
        file.ids,
        file.sources,
        file.unlabelled,
        file.identity,
        file.sha256,
        list(file.contents()),
        file.image_hashes,
        file.read(range(len(file))),
    )


def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the image files that are read for their hash from here on."""
    found: list[str] = []
    real = image_hashes.file_sha256
    monkeypatch.setattr(
        image_hashes, "file_sha256", lambda path: (found.append(Path(path).name), real(path))[1]
    )
    return found


def change(path: Path, old: bytes, new: bytes) -> None:
    """Another content of equal size, with the times of the old one as far as they can be set."""
    data = path.read_bytes()
    assert old in data and len(old) == len(new)
    times = path.stat()
    time.sleep(0.02)
    path.write_bytes(data.replace(old, new))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_what_is_remembered_is_what_was_read(folder, settled, monkeypatch):
    first = facts(open_problems(folder / "problems.jsonl"))
    assert first[:3] == (tuple("abcde"), ("s", "problems", "problems", "s", "problems"), ("b",))
    assert first[6][:2] != (None, None) and first[6][2] is None and len(first[6]) == 4
    found = hashed(monkeypatch)
    monkeypatch.setattr(opening, "open_lines", None)
    monkeypatch.setattr(ProblemFile, "_made_index", None)
    assert facts(open_problems(folder / "problems.jsonl")) == first
    assert found == []


def test_young_files_are_read_again(folder, cache, monkeypatch):
    found = hashed(monkeypatch)
    identities = {open_problems(folder / "problems.jsonl").identity for _ in range(2)}
    assert len(identities) == 1
    assert found == ["0.png", "1.png", "2.png"] * 2
    assert not (cache / "problems").exists()


def test_without_a_cache_all_is_the_same(folder, settled, monkeypatch):
    kept = facts(open_problems(folder / "problems.jsonl"))
    monkeypatch.setenv("MSTAR_CACHE", str(folder / "problems.jsonl" / "below"))
    assert facts(open_problems(folder / "problems.jsonl")) == kept


def test_edited_golds_and_images_are_noticed(folder, settled, monkeypatch):
    path = folder / "problems.jsonl"
    first = open_problems(path)
    identities = [first.identity]
    found = hashed(monkeypatch)
    change(folder / "1.png", b"IDAT", b"idat")
    identities.append(open_problems(path).identity)
    assert found == ["1.png"]
    change(path, b'"14"', b'"15"')
    identities.append(open_problems(path).identity)
    (folder / "lost.png").write_bytes(b"found")
    identities.append(open_problems(path).identity)
    (folder / "0.png").unlink()
    identities.append(open_problems(path).identity)
    assert len(set(identities)) == 5
    assert open_problems(path).read([0])[0].answer == "15"
    assert first.sha256 != open_problems(path).sha256


def test_the_identity_is_that_of_the_contents(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name in ("0.png", "1.png", "problems.jsonl"):
        shutil.copy(folder / name, elsewhere / name)
    assert (
        open_problems(elsewhere / "problems.jsonl").identity
        == open_problems(folder / "problems.jsonl").identity
    )
    (elsewhere / "0.png").write_bytes(b"other")
    assert (
        open_problems(elsewhere / "problems.jsonl").identity
        != open_problems(folder / "problems.jsonl").identity
    )


def test_without_image_files_the_identity_is_the_hash_of_the_file(jsonl, row):
    file = open_problems(jsonl(row()))
    assert file.identity == file.sha256


def test_what_is_no_image_file_has_no_hash(jsonl, row, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    names = ["pipe.png", "folder.png", "x" * 300, "\ud800.png"]
    rows = [json.dumps(row(id=str(number), image=name)).encode() for number, name in enumerate(names)]
    file = open_problems(jsonl(*rows))
    assert file.image_hashes == [None] * 4
    assert len(file.identity) == 64


@pytest.mark.parametrize("left", [b"", b"junk", None])
def test_damaged_entries_are_made_again(folder, cache, settled, left):
    first = facts(open_problems(folder / "problems.jsonl"))
    entries = [entry for entry in cache.rglob("*") if entry.is_file()]
    assert len(entries) == 3
    for entry in entries:
        before = entry.read_bytes()
        entry.write_bytes(before[:-9] if left is None else left)
        assert facts(open_problems(folder / "problems.jsonl")) == first
        assert entry.read_bytes() == before


def test_a_part_that_is_added_is_noticed(tmp_path, row, settled):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for number in range(3):
        pq.write_table(pa.Table.from_pylist([row(id=str(number))]), tmp_path / f"part-{number}.parquet")
        file = open_problems(tmp_path)
        assert file.ids == tuple(map(str, range(number + 1)))
        assert open_problems(tmp_path).identity == file.identity


@pytest.mark.parametrize("format", ["MathVista", "MathV360K"])
def test_documents_are_parsed_once(tmp_path, settled, monkeypatch, format):
    turns = [{"from": "human", "value": "How many?"}, {"from": "gpt", "value": "The answer is 3"}]
    vista = {"question": "How many?", "answer": "3", "question_type": "free_form", "answer_type": "integer"}
    rows = {
        "MathVista": {f"\u00e9{number}": vista | {"image": "a.png"} for number in range(3)},
        "MathV360K": [{"id": str(number), "image": "A/a.png", "conversations": turns} for number in range(3)],
    }[format]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    first = facts(open_problems(path))
    monkeypatch.setattr(opening, "open_document", None)
    assert facts(open_problems(path)) == first
    (tmp_path / "data_images").mkdir()
    moved = open_problems(path).read([0])[0].images[0].path
    assert moved == str(tmp_path / ("data_images/A/a.png" if format == "MathV360K" else "a.png"))
    assert open_problems(path).identity == first[3]


def test_bad_rows_are_refused_with_and_without_an_index(jsonl, row, settled):
    path = jsonl(row(id="a"), row(id="b", question=None), row(id="c", image=5))
    for _ in range(2):
        file = open_problems(path)
        assert (file.ids, file.unlabelled) == (("a", "b", "c"), ())
        for number, said in ((1, "question is null"), (2, "image 1 is 5")):
            with pytest.raises(UserError, match=said):
                file.read([number])


OPENER = """
import sys
from mstar import content_hashes
from mstar.datasets import open_problems
content_hashes.SETTLED_SECONDS = -1.0
for _ in range(20):
    file = open_problems(sys.argv[1])
    print(file.identity, *file.ids)
"""


def test_several_processes_may_index_a_file_at_once(folder):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", OPENER, str(folder / "problems.jsonl")]
    openers = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    lines = [line for opener in openers for line in opener.communicate()[0].splitlines()]
    assert len(lines) == 60 and len(set(lines)) == 1


def test_problems_that_two_files_share(jsonl, row, tmp_path, picture):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name, colour in (("a", (1, 2, 3)), ("copy", (1, 2, 3)), ("b", (4, 5, 6))):
        (tmp_path / f"{name}.png").write_bytes(picture(colour))
    train = open_problems(
        jsonl(
            row(id="1", image="a.png"),
            row(id="2", question="Why?"),
            row(id="3", image="lost.png"),
            row(id="4", images=["a.png", "b.png"]),
            row(id="5", image="copy.png"),
            row(id="6", question="\uff37hy\u00e9?", image="b.png"),
        )
    )
    same = jsonl(
        row(id="x", question=" how  MANY?", image="copy.png", answer="15"),
        row(id="y", image="b.png"),
        row(id="z", question="why?"),
        row(id="lost", image="lost.png"),
        row(id="order", images=["b.png", "a.png"]),
        name="test.jsonl",
    )
    assert shared_problems(train, open_problems(same)) == [("1", "x"), ("2", "z")]
    rows = [
        row(id="p", images=[picture((1, 2, 3)), picture((4, 5, 6))]),
        row(id="q", images=[picture((1, 2, 3))]),
        row(id="r", question="whye\u0301?", images=[picture((4, 5, 6))]),
        row(id="s", images=[picture((4, 5, 6))]),
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "embedded.parquet")
    embedded = open_problems(tmp_path / "embedded.parquet")
    assert shared_problems(train, embedded) == [("4", "p"), ("1", "q"), ("6", "r")]
    assert shared_problems(embedded, train) == [("q", "1"), ("p", "4"), ("q", "5"), ("r", "6")]
    assert shared_problems(embedded, embedded) == [(id, id) for id in "pqrs"]


def test_who_opens_what_another_uses_need_not_read_it_again(jsonl, row, tmp_path) -> None:
    path = jsonl(row(id="a", question="1 + 1?", answer="2"))
    first = open_problems(path)
    [problem] = first.read([0])
    assert open_problems(path).read([0])[0] is problem
    jsonl(row(id="a", question="1 + 2?", answer="3"))
    assert open_problems(path).read([0])[0].answer == "3"
