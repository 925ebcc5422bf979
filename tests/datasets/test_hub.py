"""Data sets on a hub, through its library and a small server; the real hub is not asked."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mstar.config import Config
from mstar.config_file import dump_config
from mstar.datasets import load_image, open_problems
from mstar.errors import UserError
from mstar.model_folders import fetch_from_hub
from tests.commands import call, mstar
from tests.hub import Hub, serve_hub

FIRST, SECOND = "1" * 40, "2" * 40
ID = "somebody/geometry"


def rows(count: int, first: int = 0, **more: object) -> list[dict[str, object]]:
    return [
        {"id": f"p{number}", "question": f"How many, {number}?", "answer": "1", "answer_type": "number"}
        | more
        for number in range(first, first + count)
    ]


def parquet(problems: list[dict[str, object]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(problems), file)
    return file.getvalue()


def jsonl(problems: list[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in problems)


@pytest.fixture
def hub(tmp_path: Path, picture) -> Iterator[Hub]:
    with serve_hub(tmp_path / "hub") as server:
        files = {
            "data/train-00000-of-00002.parquet": parquet(rows(3)),
            "data/train-00001-of-00002.parquet": parquet(rows(4, 3)),
            "data/test-00000-of-00001.parquet": parquet(rows(2)),
            "extra/hard.jsonl": jsonl(rows(5, image="images/0.png")),
            "extra/images/0.png": picture(),
        }
        server.add("datasets", ID, FIRST, files)
        yield server


def tell(address: str) -> None:
    """Print what there is at an address, or the one line."""
    try:
        file = open_problems(address)
        images = [load_image(image).size for one in file.read(range(len(file))) for image in one.images]
        print(json.dumps([len(file.ids), len(images), file.identity]))
    except UserError as error:
        print(json.dumps(str(error)))


def tell_prm(commit: str) -> None:
    folder = fetch_from_hub("score.prm", "somebody/prm", commit)
    print(json.dumps(sorted(path.name for path in folder.iterdir())))


@pytest.fixture(autouse=True)
def environment(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For processes alone: the hub's library reads it when it is loaded."""
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("MSTAR_CACHE", str(tmp_path / "cache" / "mstar"))


def ask(function: Callable[[str], None], argument: str) -> object:
    """What a function prints in a process of its own."""
    done = call(function, argument)
    assert not done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("path", "problems", "images"),
    [
        ("/train", 7, 0),
        ("/test", 2, 0),
        ("/data/train-00001-of-00002.parquet", 4, 0),
        ("/hard", 5, 5),
        ("/extra", 5, 5),
        ("/extra/hard.jsonl", 5, 5),
        (f"@{FIRST}/test", 2, 0),
        ("@main/test", 2, 0),
    ],
)
def test_splits_files_and_folders(path: str, problems: int, images: int) -> None:
    found = ask(tell, f"hf://datasets/{ID}{path}")
    assert isinstance(found, list) and found[:2] == [problems, images]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (
            f"hf://datasets/{ID}",
            f"holds several sets; problems are one; give hf://datasets/{ID}@{FIRST}/extra",
        ),
        (f"hf://datasets/{ID}/dev", f"is not there; give hf://datasets/{ID}@{FIRST}/extra/hard.jsonl or"),
        ("hf://datasets/somebody/nothing/train", "cannot be had from the hub (404"),
        (f"hf://datasets/{ID}@{SECOND}/train", "cannot be had from the hub (404"),
        ("hf://datasets/geometry", "names no data set on a hub; write hf://datasets/owner/name"),
    ],
)
def test_what_is_not_there_is_one_line(address: str, said: str) -> None:
    found = ask(tell, address)
    assert isinstance(found, str) and said in found and "\n" not in found


def test_what_was_fetched_is_there_without_a_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"hf://datasets/{ID}/train"
    found = ask(tell, address)
    hub.asked.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert ask(tell, address) == found
    assert not hub.asked
    said = ask(tell, f"hf://datasets/{ID}/test")
    assert isinstance(said, str) and "is not there; give" in said


def test_a_run_keeps_the_commits_that_it_has_begun_with(
    hub: Hub, tmp_path: Path, prm_folder: Path, make_config: Callable[..., Config]
) -> None:
    """Problems and a process reward model; the main branch moves on."""
    weights = {path.name: path.read_bytes() for path in prm_folder.iterdir()}
    hub.add("models", "somebody/prm", FIRST, weights)
    data = {name: f"hf://datasets/{ID}/{name}" for name in ("train", "test")}
    config = make_config(
        data={"train": data["train"], "validation": data["test"], "tests": {"test": data["test"]}},
        score={"prm": "somebody/prm"},
    )
    (tmp_path / "config.yaml").write_text(dump_config(config))
    noted = []
    for commit in (SECOND, "3" * 40):
        mstar("prepare", str(tmp_path / "config.yaml"))
        files = [tmp_path / "run" / name for name in ("run.yaml", "inputs.json")]
        noted.append([file.read_text() for file in files])
        hub.add("datasets", ID, commit, {"train.jsonl": jsonl(rows(9)), "test.jsonl": jsonl(rows(8))})
        hub.add("models", "somebody/prm", commit, weights | {"more.json": b"{}"})
    assert noted[0] == noted[1]
    assert f"train: hf://datasets/{ID}@{FIRST}/train\n" in noted[0][0]
    assert f"test: hf://datasets/{ID}@{FIRST}/test\n" in noted[0][0]
    assert f"prm_revision: '{FIRST}'" in noted[0][0]
    assert json.loads(noted[0][1])["score.prm"] == f"somebody/prm@{FIRST}"
    assert ask(tell_prm, FIRST) == sorted([*weights, "README.md"])
