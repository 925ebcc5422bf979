"""Worker processes: killed at the deadline, gone with their parent, usable from threads, without torch."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from mstar.answers import AnswerChecker, Expected, Judgement

TOWER = "Answer: 9^{9^{9^{9}}}"
SQUARE = Expected("(x+1)^2", "expression")
RIGHT = "Answer: x^2+2x+1"


def is_alive(process_id: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def worker_ids(parent: int | None = None) -> list[int]:
    """The worker processes of this process, or of another one."""
    found, own = [], str(parent or os.getpid())
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (process / "cmdline").read_text().split("\0")
            if "algebra import serve" in "".join(command[2:3]) and command[4] == own:
                found.append(int(process.name))
    return found


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_no_worker_is_started_before_it_is_needed() -> None:
    with AnswerChecker() as checker:
        checker.check(Expected("14", "number"), "Answer: 14")
        checker.check(Expected("B", "choice", ("1", "2")), "Answer: (B) 2")
        checker.check(Expected("x^2", "expression"), "Answer: $x^{2}$")
        assert worker_ids() == []
        assert checker.check(SQUARE, RIGHT).correct
        assert len(worker_ids()) == 1
    assert worker_ids() == []


def test_a_comparison_is_killed_at_its_deadline_and_the_next_one_works() -> None:
    with AnswerChecker(deadline_seconds=30) as patient:
        patient.check(SQUARE, RIGHT)
        (first,) = worker_ids()
    assert not is_alive(first)
    with AnswerChecker(deadline_seconds=0.5) as checker:
        assert checker.check(SQUARE, TOWER) == Judgement("9^{9^{9^{9}}}", False, timed_out=True)
        assert checker.timed_out == 1
        assert checker.check(SQUARE, "Answer: 9^{9^9}").timed_out
        assert checker.timed_out == 2
        # The deadline is that of an answer, not of the start of the next worker.
        assert checker.check(Expected("x+1", "expression"), "Answer: 1+x").correct


def test_a_busy_machine_judges_like_an_idle_one() -> None:
    """A worker that waits for its turn uses up nothing of its deadline."""
    with AnswerChecker(deadline_seconds=0.5) as checker, ThreadPoolExecutor() as threads:
        assert checker.check(Expected("x+2", "expression"), "Answer: 2+x").correct
        (worker,) = worker_ids()
        os.kill(worker, signal.SIGSTOP)
        judgement = threads.submit(checker.check, Expected("x+1", "expression"), "Answer: 1+x")
        with pytest.raises(TimeoutError):
            judgement.result(1.5)
        os.kill(worker, signal.SIGCONT)
        assert judgement.result().correct


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_dies_while_it_is_asked_fails_that_check_only(
    workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    with AnswerChecker(deadline_seconds=60, workers=workers) as checker:
        assert checker.check(SQUARE, RIGHT).correct
        (process_id,) = worker_ids()
        killer = threading.Timer(0.5, os.kill, (process_id, signal.SIGKILL))
        killer.start()
        judgements = checker.check_many([(SQUARE, TOWER), (SQUARE, RIGHT), (SQUARE, RIGHT)])
        killer.join()
        assert judgements[0] == Judgement("9^{9^{9^{9}}}", False, failed=True)
        assert [one.correct for one in judgements] == [False, True, True]
        assert (checker.failed, checker.timed_out) == (1, 0)
    assert "ended while it was asked" in caplog.text


def test_workers_that_cannot_start_end_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with AnswerChecker() as checker:
        judgements = checker.check_many([(SQUARE, RIGHT), (Expected("14", "number"), "Answer: 14")])
        assert [(one.correct, one.failed) for one in judgements] == [(False, True), (True, False)]


def test_a_killed_worker_is_replaced() -> None:
    with AnswerChecker(deadline_seconds=60) as checker:
        assert checker.check(SQUARE, RIGHT).correct
        (process_id,) = worker_ids()
        os.kill(process_id, signal.SIGKILL)
        assert wait_until(lambda: not is_alive(process_id))
        assert checker.check(SQUARE, RIGHT).correct
        assert checker.timed_out == 0


def test_checks_work_from_other_threads() -> None:
    judgements: list[Judgement] = []
    with AnswerChecker(deadline_seconds=60) as checker:
        threads = [
            threading.Thread(target=lambda: judgements.append(checker.check(SQUARE, RIGHT))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [judgement.correct for judgement in judgements] == [True] * 4


def test_check_many_keeps_the_order_and_uses_every_worker() -> None:
    pairs = [
        (Expected("14", "number"), "Answer: 14"),
        (SQUARE, RIGHT),
        (SQUARE, "Answer: x^2+2x"),
        (Expected("14", "number"), "Answer: 15"),
        (SQUARE, "Answer: (1+x)^2"),
        (Expected("3.46", "number"), r"Answer: $2\sqrt{3}$"),
    ]
    with AnswerChecker(deadline_seconds=60, workers=2) as checker:
        judgements = checker.check_many(pairs)
        assert len(worker_ids()) == 2
    assert [judgement.correct for judgement in judgements] == [True, True, False, False, True, True]


def test_closing_twice_and_checking_again() -> None:
    checker = AnswerChecker(deadline_seconds=60)
    checker.close()
    assert checker.check(SQUARE, RIGHT).correct
    (process_id,) = worker_ids()
    checker.close()
    checker.close()
    assert not is_alive(process_id)


PARENT = """
import sys, threading, time
from mstar.answers import AnswerChecker, Expected
checker = AnswerChecker(deadline_seconds=3)
checker.check(Expected("x+1", "expression"), "Answer: 1+x")
print("asked", flush=True)
if sys.argv[1] == "busy":
    threading.Thread(
        target=checker.check, args=(Expected("x+1", "expression"), "Answer: 9^{9^{9^{9}}}"), daemon=True
    ).start()
time.sleep(600)
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_no_worker_outlives_a_parent_that_is_killed(state: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, state],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert parent.stdout is not None
    assert parent.stdout.readline()
    (worker,) = worker_ids(parent.pid)
    assert is_alive(worker)
    if state == "busy":
        time.sleep(0.5)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert wait_until(lambda: not is_alive(worker))


def test_the_package_imports_no_torch() -> None:
    printed = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, mstar.answers; print('torch' in sys.modules, 'sympy' in sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert printed.stdout.split() == ["False", "False"]


def test_a_worker_loads_no_torch() -> None:
    with AnswerChecker(deadline_seconds=60) as checker:
        assert checker.check(SQUARE, RIGHT).correct
        (process_id,) = worker_ids()
        loaded = Path(f"/proc/{process_id}/maps").read_text()
    assert "python" in loaded and "torch" not in loaded and "numpy" not in loaded


@pytest.mark.parametrize(
    "answer",
    ["2^{100000000}", "99999999!", "1" * 500 + "^" + "9" * 400, "9^{9^9} x", r"\sqrt{" + "9" * 900 + "}"],
)
def test_hostile_expressions_are_wrong_and_stay_within_their_memory(answer: str) -> None:
    with AnswerChecker(deadline_seconds=1) as checker:
        assert not checker.check(Expected("x+1", "expression"), f"Answer: {answer}").correct


def test_plain_answers_start_no_process() -> None:
    number, responses = Expected("14", "number"), [f"8+6=14;Answer:{value}" for value in range(2000)]
    with AnswerChecker(deadline_seconds=60) as checker:
        right = sum(one.correct for one in checker.check_many((number, response) for response in responses))
        assert right == 1
        assert worker_ids() == []
        assert checker.check(SQUARE, RIGHT).correct
        assert len(worker_ids()) == 1


@pytest.mark.parametrize("arguments", [(0.0, 1), (-1.0, 1), (1.0, 0)])
def test_senseless_settings_are_refused(arguments: tuple[float, int]) -> None:
    with pytest.raises(ValueError, match="must be > 0"):
        AnswerChecker(*arguments)
