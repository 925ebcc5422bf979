"""What vLLM finds around it while it starts: variables, a folder for sockets, and a log for what it says."""

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mstar.config import Config
from mstar.models.threads import allowed_cores

VARIABLES = {
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a fork of a process in which torch has threads can hang
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_USE_FLASHINFER_SAMPLER": "0",  # not for requests with a seed, as ours are; it asks for a compiler
}
"""Told to vLLM and its processes, unless the environment says otherwise."""
PREFIX = "mstar-sockets-"
LONGEST_PARENT = 107 - len(f"/{PREFIX}12345678/") - 36
"""Bytes: a socket's path may have 107, and vLLM takes 36 for a name."""


@contextmanager
def environment(config: Config) -> Iterator[None]:
    """The variables. Where nothing is compiled, nothing at all is: a function that sorts log-probabilities
    would take ten seconds.
    """
    told = VARIABLES | {"OMP_NUM_THREADS": str(config.model.threads or allowed_cores())}
    if is_eager(config):
        told |= {"TORCHDYNAMO_DISABLE": "1"}
    with socket_folder() as sockets:
        told |= {"VLLM_RPC_BASE_PATH": sockets}
        new = {name: value for name, value in told.items() if name not in os.environ}
        os.environ |= new
        try:
            yield
        finally:
            for name in new:
                del os.environ[name]


@contextmanager
def socket_folder() -> Iterator[str]:
    """Where vLLM's processes meet. It goes when they have met, so that no sockets are left, however they end;
    in /tmp where the temporary folder's path is too long for sockets. What a process left that was killed
    meanwhile goes with the next one.
    """
    usual = tempfile.gettempdir()
    parent = Path(usual if len(os.fsencode(usual)) <= LONGEST_PARENT else "/tmp")
    _discard_leftovers(parent)
    folder, lock = _locked_folder(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked_folder(parent: Path) -> tuple[str, int]:
    """A new folder, and the descriptor that locks it: the kernel lets go of it even after kill -9. Another
    process may have taken the folder for a leftover before it was locked: then one more is made.
    """
    while True:
        folder = tempfile.mkdtemp(prefix=PREFIX, dir=parent)
        with suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.isdir(folder):
                return folder, lock
            os.close(lock)


def _discard_leftovers(parent: Path) -> None:
    """Folders that nobody holds. Other users' cannot be opened."""
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def is_eager(config: Config) -> bool:
    """Whether vLLM runs the model as it is, without compiling it."""
    return config.model.device == "cpu" if config.vllm.eager is None else config.vllm.eager


@contextmanager
def output_to(log: Path) -> Iterator[None]:
    """What this process and those that it starts meanwhile write goes to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    try:
        os.dup2(file, 1)
        os.dup2(file, 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, number)
            os.close(copy)
        os.close(file)
