"""The processes of a training: what they tell, how their end is told, and that none is left behind.

Each loads torch, which takes seconds; `make test-deepspeed` runs the slow ones.
"""

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from mstar.errors import UserError
from mstar.trainers.ranks import Ranks

MODULE = "tests.trainers.told_rank"
PATIENCE = 120
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning"
)  # torch's launcher leaves them


@pytest.fixture(autouse=True)
def logs_of_lost_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They stay, and go with the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@contextmanager
def started(*lesson: list[str], stalled_seconds: float = PATIENCE) -> Iterator[Ranks]:
    """Ranks with these lessons; in the end none of their processes is left."""
    with closing(Ranks(MODULE, len(lesson), lesson, stalled_seconds)) as ranks:
        pids = list(ranks._processes.pids().values())
        yield ranks
    assert not [pid for pid in pids if is_alive(pid)]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_the_first_rank_is_heard_and_answered() -> None:
    with started(["tell a", "ask b", "tell c"], ["tell what nobody hears"]) as ranks:
        heard: list[dict[str, Any]] = []
        for message in ranks.messages():
            heard.append(message)
            if "asked" in message:
                ranks.answer("an answer")
        assert heard == [{"said": "a"}, {"asked": "b"}, {"said": "an answer"}, {"said": "c"}]
        log = ranks.folder
    assert not log.exists()


@pytest.mark.parametrize(
    "lesson, said",
    [
        pytest.param(
            ["die"],
            r"^the training lost rank 1 of 2, which was ended by SIGKILL \(exit code -9\), for its memory ",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["raise out of memory"],
            r"^the training lost rank 1 of 2, which has failed \(exit code 1\): RuntimeError: out of memory "
            r"\(train.tokens_per_micro_batch says",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["refuse the model is no model; take another"],
            "^the model is no model; take another$",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_end_of_one_is_the_end_of_all_in_one_line(lesson: list[str], said: str) -> None:
    with started(["tell a", "wait"], lesson) as ranks, pytest.raises(UserError, match=said) as caught:
        for message in ranks.messages():
            assert message["said"] in ("a", "still here")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_silence_is_ended() -> None:
    said = r"^the training took no step for 20 s \(deepspeed.stalled_seconds\) and was ended; start the same"
    with (
        started(["hang"], stalled_seconds=20) as ranks,
        pytest.raises(UserError, match=said),
    ):
        list(ranks.messages())


def start_and_wait(pipe: Any) -> None:
    ranks = Ranks(MODULE, 1, (["wait"],), PATIENCE)
    next(ranks.messages())
    pipe.send(list(ranks._processes.pids().values()))
    time.sleep(PATIENCE)


@pytest.mark.slow
def test_a_rank_ends_where_the_stage_is_killed() -> None:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    stage = context.Process(target=start_and_wait, args=(there,), daemon=True)
    stage.start()
    assert here.poll(PATIENCE)
    [pid] = here.recv()
    os.kill(stage.pid or 0, signal.SIGKILL)
    stage.join()
    until = time.monotonic() + PATIENCE
    while is_alive(pid) and time.monotonic() < until:
        time.sleep(0.1)
    assert not is_alive(pid)
