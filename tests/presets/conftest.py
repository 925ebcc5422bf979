"""Published sets in small, each in the layout that it is published in."""

import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MSTAR_CACHE", str(folder))
    return folder


def drawing(seed: int, kind: str = "PNG") -> bytes:
    """An image file with a polygon; another seed gives another one."""
    chance, image = random.Random(seed), Image.new("RGB", (160, 120), "white")
    corners = [(chance.randrange(10, 150), chance.randrange(10, 110)) for _ in range(4)]
    ImageDraw.Draw(image).polygon(corners, outline="black", width=3)
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def chats(count: int, first_image: int = 0) -> list[dict[str, object]]:
    """MathV360K's rows, four about each image."""
    return [
        {
            "id": f"identity_{number}",
            "image": f"TabMWP/images/{first_image + number // 4}.png",
            "conversations": [
                {"from": "human", "value": f"<image>\nQuestion: What is {number} plus one?"},
                {"from": "gpt", "value": f"The answer is {number + 1}"},
            ],
        }
        for number in range(count)
    ]


@pytest.fixture
def mathv360k(tmp_path: Path) -> Callable[..., Path]:
    """Writes MathV360K with its images in a zip file, or unpacked."""

    def write(count: int = 80, zipped: bool = True) -> Path:
        return write_mathv360k(tmp_path / "mathv360k", count, zipped)

    return write


def write_mathv360k(folder: Path, count: int, zipped: bool) -> Path:
    rows = chats(count)
    images = {f"data_images/{row['image']}": drawing(number // 4) for number, row in enumerate(rows)}
    if zipped:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for path, data in images.items():
                if path not in archive.NameToInfo:
                    archive.writestr(path, data)
        images = {"data_images.zip": file.getvalue()}
    return write_files(folder, images | {"train_samples_all_tuning.json": json.dumps(rows).encode()})


def parquet(rows: list[dict[str, object]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


def mathvista_row(pid: int, question: str, answer: str, image: bytes, **more: object) -> dict[str, object]:
    row = {"pid": str(pid), "question": question, "image": f"images/{pid}.jpg", "choices": None, "unit": None}
    row |= {"decoded_image": {"bytes": image, "path": None}, "precision": None, "answer": answer}
    row |= {"question_type": "free_form", "answer_type": "integer", "query": question}
    return row | {"metadata": {"source": "TabMWP"}} | more


def five_test_sets() -> dict[str, dict[str, bytes]]:
    """The M-STaR paper's test sets: names of files, by set. MathVista repeats two of MathV360K's problems,
    one of them with its image in another encoding.
    """
    image = {"bytes": drawing(100), "path": None}
    m3cot = {"id": "m1", "image_id": "m1", "question": "Which?", "choices": ["x1", "x2"], "answer": "A"}
    m3cot |= {"rationale": "r", "image": image, "context": "", "domain": "science"}
    mmstar = {"question": "How many? Options: A: 3, B: 5", "image": drawing(101), "answer": "B"}
    mmstar |= {"l2_category": "l", "meta_info": {"source": "s"}}
    categories = ("math", "logical reasoning")
    mmstar_rows = [mmstar | {"index": index, "category": name} for index, name in enumerate(categories)]
    mmbench = {"question": "What?", "hint": None, "A": "p1", "B": "p2", "answer": "A", "image": image}
    ai2d = {"question": "Eats?", "options": ["hawk", "rabbit"], "answer": "1", "image": image}
    mathvista = [
        mathvista_row(1, "What is 8 plus one?", "9", drawing(2)),
        mathvista_row(2, "what is 13 plus one", "14", drawing(3, "BMP")),
        mathvista_row(3, "What is it?", "1", drawing(4)),
        mathvista_row(4, "What is that?", "1", drawing(102)),
    ]
    return {
        "mathvista": {"data/testmini-00000-of-00001.parquet": parquet(mathvista)},
        "m3cot": {"data/test-00000-of-00001.parquet": parquet([m3cot])},
        "mmstar": {"mmstar.parquet": parquet(mmstar_rows)},
        "mmbench": {
            "en/dev-00000-of-00001.parquet": parquet(
                [
                    mmbench | {"index": "5", "L2-category": "logic_reasoning"},
                    mmbench | {"index": "6", "L2-category": "coarse_perception"},
                ]
            )
        },
        "ai2d": {"data/test-00000-of-00001.parquet": parquet([ai2d])},
    }


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder
