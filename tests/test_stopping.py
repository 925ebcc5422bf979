"""Ctrl-C at the real command: one line, and the same command goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import ERRORS, OUTPUT, mstar, start
from tests.smoke import smoke_arguments

SETTINGS = (
    "iterations.count=1",
    "iterations.problems_share=0.075",
    "generate.problems_per_chunk=4",
    "adapt.policy=fixed",
    "data.validation=null",
)


def read_until(process: subprocess.Popen[str], wanted: str) -> list[str]:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if wanted in line:
            return lines
    pytest.fail(f"{wanted!r} was not said: {lines}")


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_a_stopped_run_says_so_in_one_line_and_the_same_command_goes_on(
    problems: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "mstar", *smoke_arguments(problems, tmp_path / "run", *SETTINGS)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    first = read_until(process, "generate: ")
    assert first[0].startswith("mstar ") and first[0].rstrip().endswith(f"run smoke in {tmp_path / 'run'}")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the run
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.startswith("stopped") and said.count("\n") == 1
    assert "the same command goes on there" in said
    again = mstar(*smoke_arguments(problems, tmp_path / "run", *SETTINGS))
    assert again.stdout.splitlines()[1].startswith("goes on with iteration 0 · ")
    third = mstar(*smoke_arguments(problems, tmp_path / "run", *SETTINGS))
    assert "all iterations are finished already" in third.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_can_be_stopped_before_its_first_stage(
    problems: Path, tmp_path: Path, number: signal.Signals
) -> None:
    process = start(*smoke_arguments(problems, tmp_path / "run", *SETTINGS), said=tmp_path)
    while "run smoke in" not in read(tmp_path / OUTPUT):
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid or 0, number)
    process.join(timeout=60)
    assert process.exitcode == 128 + number
    said = read(tmp_path / ERRORS)
    assert said.startswith("stopped") and said.count("\n") == 1


def test_a_signal_while_the_command_is_being_imported_is_heard(tmp_path: Path) -> None:
    """As the first process of a container is sent one when its pod goes at once."""
    (tmp_path / "typer.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n")
    done = subprocess.run(
        [sys.executable, "-m", "mstar", "--help"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 143
    assert done.stderr.startswith("stopped") and done.stderr.count("\n") == 1


def test_a_signal_in_a_finalizer_is_not_lost() -> None:
    """Python ignores what is raised there."""
    script = """
import os, signal, sys, time, weakref
from mstar.stopping import Stopped, listen

class Thing:
    pass

def tidy_up():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.1)

listen()
try:
    thing = Thing()
    weakref.finalize(thing, tidy_up)
    del thing
    time.sleep(60)
except Stopped as stopped:
    sys.exit(stopped.exit_code)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (143, "")
