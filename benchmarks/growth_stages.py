"""One stage of a run, measured in this process: its seconds and its memory as one line of JSON.

    python benchmarks/growth_stages.py STAGE FOLDER [SETTING=VALUE ...]

FOLDER is what `growth.py` makes. Only the model's side is made up: an engine and a process reward model that
have their answers ready, and a trainer that does everything but the forward and the backward pass. Storage,
parts, manifests, answer checks, rows to learn from and reports are the real ones.
"""

import json
import resource
import shutil
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

import mstar.evaluation
import mstar.generation
import mstar.sampling
import mstar.scoring
import mstar.training
from mstar.adaptation import adapt
from mstar.config import Config
from mstar.config_file import load_config
from mstar.datasets.checking import check_problems
from mstar.engines import Chunk, Generated
from mstar.evaluation import evaluate
from mstar.generation import generate
from mstar.prompts import Request
from mstar.report.page import write_report
from mstar.scoring import score
from mstar.selection import select
from mstar.stages import stage_prefix
from mstar.starting import open_run, start_run
from mstar.steps import step_ends
from mstar.timing import peak_memory_bytes
from mstar.trainers import Lesson, Progressed, SaveTo
from mstar.training import train

ANSWERS = 97
"""The problem with number n has the answer n % ANSWERS."""
PATTERN = "There are {a} squares and {b} circles here.\n{a} + {b} = {sum}\nAnswer: {sum}"
TOKENS = tuple(range(40))


def answer_to(id: str) -> int:
    """The gold of the problem with an id such as `train-0000123`."""
    return int(id.rpartition("-")[2]) % ANSWERS


class ReadyEngine:
    """An engine whose policy is right in half of its answers, which need no time."""

    def check(self, request: Request) -> None:
        pass

    def generate(self, chunks: Iterable[Chunk]) -> Iterator[list[list[Generated]]]:
        for chunk in chunks:
            number = chunk.sampling.samples_per_problem
            yield [[say(request, sample) for sample in range(number)] for request in chunk.requests]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def say(request: Request, sample: int) -> Generated:
    luck = zlib.crc32(f"{request.seed} {sample}".encode())
    total = answer_to(request.id) + luck % 2
    return Generated(PATTERN.format(a=luck % 50, b=total - luck % 50, sum=total), TOKENS, False)


class ReadyScores:
    """A process reward model that likes long texts."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.separator = config.prompt.step_separator

    def score(
        self, requests: Sequence[Request], texts: Sequence[Sequence[str]]
    ) -> list[list[tuple[float, ...]]]:
        return [[self._score(text) for text in own] for own in texts]

    def _score(self, text: str) -> tuple[float, ...]:
        return tuple(zlib.crc32(text[:end].encode()) / 2**32 for end in step_ends(text, self.separator))


class ReadyTrainer:
    """Makes every micro-batch of a lesson, and learns nothing from it."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def train(self, lesson: Lesson, save_to: SaveTo) -> Iterator[Progressed]:
        from mstar.models import Encoder
        from mstar.trainers.batches import plan_batches
        from mstar.trainers.rows import LessonRows, cut_micro_batches

        encoder = Encoder(Path(self.config.model.path), self.config.images, self.config.prompt)
        rows, progressed = LessonRows(lesson, encoder), Progressed(0)
        batches = plan_batches(len(lesson.rows), self.config.train, lesson.seed)
        for number, batch in enumerate(rows.read_in_turn(batches), 1):
            for _ in cut_micro_batches(batch, encoder, self.config.train):
                pass
            progressed = Progressed(number, number)
            yield progressed
        with save_to(progressed.steps_done) as folder:
            folder.mkdir()
            (folder / "config.json").write_text("{}")


def prepare(folder: Path) -> None:
    """What `mstar run` does first: look at the inputs, note their identities."""
    start_run(load_config(folder / "growth.yaml", sys.argv[3:]))


def check(folder: Path) -> None:
    """`mstar problems check`."""
    assert not check_problems(folder / "train.jsonl").bad


def again(folder: Path) -> None:
    """A finished stage is asked for again: are its files as they were?"""
    score(open_run(str(folder / "run")), 0)


STAGES: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "prepare": (prepare, ("run", "cache")),
    "check": (check, ()),
    "evaluate start": (lambda folder: evaluate(open_run(str(folder / "run")), None), ("run/start/evaluate",)),
    **{
        stage.__name__: (
            lambda folder, stage=stage: stage(open_run(str(folder / "run")), 0),
            (f"run/{stage_prefix(stage.__name__, 0)}",),
        )
        for stage in (generate, score, select, train, evaluate, adapt)
    },
    "score again": (again, ()),
    "report": (lambda folder: write_report(open_run(str(folder / "run"))), ()),
}
"""What is measured, in the order of a run, and the folders that go before it is measured once more."""


def load_libraries(folder: Path) -> None:
    """What torch and transformers take at their first use has nothing to do with the problems."""
    from mstar.preflight import load_encoder
    from mstar.trainers import rows  # noqa: F401

    encoder = load_encoder(load_config(folder / "growth.yaml"))
    encoder.encode_responses(["Answer: 7"])


def fake_models() -> None:
    ready: Any = ModuleType("mstar.prm")
    ready.ProcessRewardModel = ReadyScores
    sys.modules["mstar.prm"] = ready
    mstar.sampling.build_engine = lambda config, policy: ReadyEngine()
    mstar.training.build_trainer = ReadyTrainer


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    do, made = STAGES[name]
    for place in made:
        shutil.rmtree(folder / place, ignore_errors=True)
    fake_models()
    if name in ("prepare", "train"):
        load_libraries(folder)
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    do(folder)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"seconds": seconds, "worked": worked, "MiB": peak_memory_bytes() / 2**20}))


if __name__ == "__main__":
    main()
