"""What is made once for all workers of pytest: making a run takes longer than all that is read of it."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A copy of this worker's own of the folder that `make` makes; the worker that comes first makes it."""
    own = factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    made, is_made = shared / name, shared / f"{name}.made"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_made.exists():
            shutil.rmtree(made, ignore_errors=True)
            make(made)
            is_made.touch()
    return Path(shutil.copytree(made, factory.mktemp("copies") / name))
