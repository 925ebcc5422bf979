"""The `mstar` command, each in a process of its own, that starts from one which has imported torch already.

Loading torch and transformers takes seconds of CPU; a test that starts twenty commands would spend most of
its time there. A fork server imports them once for all workers of pytest, and every command is forked from
it: arguments, folder, environment, output, signals and exit code are its own, as of `python -m mstar`. The
latter is what test_stopping.py and a test of test_cli.py start.
"""

import importlib
import inspect
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from multiprocessing import forkserver, resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess

SERVER = multiprocessing.get_context("forkserver")
USUAL = [
    "kfp.client",
    "kfp.compiler",
    "kfp.kubernetes",
    "transformers.models.qwen3_vl.modeling_qwen3_vl",
    "mstar.cli",
    "mstar.engines.transformers",
    "mstar.loop",
    "mstar.preflight",
    "mstar.prm",
    "mstar.starting",
    "mstar.trainers.single",
    "tests.warm",
]
RARE = ["mlflow", "peft", "wandb"]
"""What only the server of several workers imports: few tests need them, in thirty commands in all."""
SERVER.set_forkserver_preload(USUAL)
ADDRESS = "MSTAR_TEST_FORK_SERVER"
"""Where the workers of pytest find the server that the process above them has started."""
OUTPUT, ERRORS = "output", "errors"


def serve_workers() -> None:
    """Start the server in the process that starts the workers; it imports while they collect."""
    SERVER.set_forkserver_preload([*USUAL, *RARE])
    server = forkserver._forkserver  # type: ignore[attr-defined]
    server.ensure_running()
    os.environ[ADDRESS] = server._forkserver_address


class _Above(forkserver.ForkServer):
    """The server of the process above."""

    def __init__(self) -> None:
        super().__init__()
        self._forkserver_address = os.environ[ADDRESS]
        self._forkserver_alive_fd = os.open(os.devnull, os.O_RDONLY)  # it ends with the process above

    def ensure_running(self) -> None:
        resource_tracker.ensure_running()


if ADDRESS in os.environ:
    forkserver.connect_to_new_process = _Above().connect_to_new_process


def mstar(*arguments: str, check: bool = True) -> CompletedProcess[str]:
    """One command, from its start to its end."""
    return call(main, *arguments, check=check)


def call(function: Callable[..., object], *arguments: str, check: bool = True) -> CompletedProcess[str]:
    """The same with a function of a module instead of the command."""
    with tempfile.TemporaryDirectory() as folder:
        process = _start(function, arguments, Path(folder))
        process.join()
        output, errors = ((Path(folder) / name).read_text() for name in (OUTPUT, ERRORS))
    done = CompletedProcess(arguments, process.exitcode or 0, output, errors)
    assert not check or done.returncode == 0, done
    return done


def at_once(commands: Iterable[list[str]]) -> None:
    """Start all of these and wait for them; each must end well."""
    with tempfile.TemporaryDirectory() as folder:
        started = []
        for number, command in enumerate(commands):
            said = Path(folder) / str(number)
            said.mkdir()
            started.append((start(*command, said=said), said))
        for process, said in started:
            process.join()
            assert process.exitcode == 0, (said / ERRORS).read_text()


def start(*arguments: str, said: Path | None = None) -> BaseProcess:
    """Start a command and go on; what it says goes into files of the folder `said`, or nowhere."""
    return _start(main, arguments, said)


def _start(function: Callable[..., object], arguments: tuple[str, ...], said: Path | None) -> BaseProcess:
    begun = (function, arguments, Path.cwd(), dict(os.environ), said)
    process = SERVER.Process(target=_begin, args=begun)
    process.start()
    return process


def _begin(
    function: Callable[..., object],
    arguments: tuple[str, ...],
    folder: Path,
    environment: dict[str, str],
    said: Path | None,
) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    importlib.reload(sys.modules["huggingface_hub.constants"])  # which come of the environment
    for number, name in ((1, OUTPUT), (2, ERRORS)):
        with open(os.devnull if said is None else said / name, "w") as file:
            os.dup2(file.fileno(), number)
    function(*arguments)


def main(*arguments: str) -> None:
    """What is called in the process of a command. kfp asks for the whole stack at every setting of a task;
    the fork server's own frame is of no file, and would be looked for in all modules each time.
    """
    inspect.modulesbyfile["<string>"] = "__main__"  # type: ignore[attr-defined]
    sys.argv = ["mstar", *arguments]
    from mstar.__main__ import main as run

    run()
