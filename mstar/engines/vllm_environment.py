"""What vLLM finds around it while it starts: variables, a folder for sockets, and a log for what it says."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
PREFIX = "mstar-"
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
    in /tmp where the temporary folder's path is too long for sockets.
    """
    parent = None if len(os.fsencode(tempfile.gettempdir())) <= LONGEST_PARENT else "/tmp"
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent, ignore_cleanup_errors=True) as folder:
        yield folder


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
