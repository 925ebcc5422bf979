"""Lessons over the quick start's problems, and models that learn in milliseconds."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mstar.config import Config
from mstar.datasets import open_problems
from mstar.models.probe import Probe
from mstar.records import Response
from mstar.response_parts import write_responses
from mstar.trainers import Lesson
from tests.conftest import PROBLEMS
from tests.tiny_models import save_tiny_model

MakeConfig = Callable[..., Config]
MakeLesson = Callable[..., Lesson]
TRAIN = PROBLEMS / "train.parquet"
TEXTS = ["Answer:12", "Read:8+6-2;8+6=14;14-2=12;Answer:12", "Read:3+4;3+4=7;Answer:7", "Answer:b"]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return save_tiny_model("qwen3_vl", tmp_path / "tiny")


@pytest.fixture
def make_lesson(tmp_path: Path) -> MakeLesson:
    """One response to each of the first problems, in two files; keyword arguments replace fields."""

    def make(policy: Path, count: int = 12, **changes: Any) -> Lesson:
        ids = open_problems(TRAIN).ids
        files = []
        for part, numbers in enumerate((range(count // 2), range(count // 2, count))):
            files.append(tmp_path / f"selected-{count}-{part}.parquet")
            texts = [TEXTS[number % len(TEXTS)] for number in numbers]
            responses = [
                Response(ids[number], 0, text, 4, False, 1.0)
                for number, text in zip(numbers, texts, strict=True)
            ]
            write_responses(files[-1], responses)
        fields = {"policy": policy, "inherit_optimizer": False, "interrupted": None, "problems": str(TRAIN)}
        rows = {"selected": tuple(files), "rows": tuple(range(count)), "seed": 7}
        return Lesson(**{**fields, **rows, **changes})

    return make


def save_to(folder: Path) -> Callable[[int], Any]:
    """Every checkpoint in the same place; the steps after which there was one are in the file beside it."""

    @contextmanager
    def open_folder(steps_done: int) -> Iterator[Path]:
        shutil.rmtree(folder, ignore_errors=True)
        yield folder
        with folder.with_suffix(".steps").open("a") as file:
            file.write(f"{steps_done}\n")

    return open_folder


def steps_saved(folder: Path) -> list[int]:
    """After which steps `save_to` was asked for a checkpoint."""
    return [int(line) for line in folder.with_suffix(".steps").read_text().split()]


def files_of(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def probe_difference(noted: Probe, found: Probe) -> float:
    """The largest; tokens of which one has no word are not compared."""
    largest = 0.0
    for one, other in zip(noted.expected, found.expected, strict=True):
        assert one.prompt == other.prompt
        said = dict(zip(other.tokens, other.logprobs, strict=True))
        shared = [(p, said[t]) for t, p in zip(one.tokens, one.logprobs, strict=True) if t in said]
        assert len(shared) > 3
        largest = max(largest, *(abs(p - q) for p, q in shared))
    return largest
