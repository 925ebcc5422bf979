"""Pictures and files that the tests of datasets write: all real, all small."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mstar import content_hashes

Row = dict[str, object]


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """Makes the bytes of an image file of one colour."""

    def make(
        colour: object = (200, 30, 40), kind: str = "PNG", mode: str = "RGB", size: tuple[int, int] = (8, 6)
    ) -> bytes:
        file = io.BytesIO()
        Image.new(mode, size, colour).save(file, kind)
        return file.getvalue()

    return make


@pytest.fixture
def row() -> Callable[..., Row]:
    """Makes a good row; keys can be changed, and left out with `...`."""

    def make(**changes: object) -> Row:
        good: Row = {"id": "p1", "question": "How many?", "answer": "14", "answer_type": "number"}
        return {key: value for key, value in (good | changes).items() if value is not ...}

    return make


@pytest.fixture
def jsonl(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows (or raw bytes for a broken one) as a JSONL file."""

    def write(*rows: Row | bytes, name: str = "problems.jsonl") -> Path:
        lines = [
            line if isinstance(line, bytes) else json.dumps(line, ensure_ascii=False).encode()
            for line in rows
        ]
        path = tmp_path / name
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return path

    return write


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own. Its files are too young to be remembered without `settled`."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MSTAR_CACHE", str(folder))
    return folder


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as at rest as soon as they are written."""
    monkeypatch.setattr(content_hashes, "SETTLED_SECONDS", -1.0)
