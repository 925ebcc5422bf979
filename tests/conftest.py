"""What many tests need: the quick start's files, and configurations and models that are smaller still."""

import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import settings

from mstar.config import Config
from mstar.config_file import parse_config
from tests.commands import mstar, serve_workers
from tests.sharing import made_once
from tests.smoke import smoke_arguments

ROOT = Path(__file__).parent.parent
QUICKSTART = ROOT / "examples" / "quickstart"
BASE = QUICKSTART / "base"
PROBLEMS = QUICKSTART / "problems"
sys.path.insert(0, str(QUICKSTART))
settings.register_profile("busy machines", deadline=None)
settings.load_profile("busy machines")
SLICES = {"train": 160, "validation": 16, "heldout": 32, "six_terms": 12}
MEMORY, MEMORY_BYTES = Path("/dev/shm"), 4 << 30
"""Where temporary files go if so much is free; TMPDIR goes first."""
pytest_plugins = ["tests.skips"]


def pytest_configure(config: pytest.Config) -> None:
    """Tests neither read nor fill the user's cache, nor do the commands that they start. One thread each is
    enough for both: there is a worker of pytest for every core. What they write is made durable, which takes
    no time in memory.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES:
        os.environ["TMPDIR"], tempfile.tempdir = str(MEMORY), None
    cache = tempfile.TemporaryDirectory(prefix="mstar-cache-")
    config.add_cleanup(cache.cleanup)
    os.environ["MSTAR_CACHE"] = cache.name
    # These are read when the libraries are imported.
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false"}
    if config.getoption("numprocesses", 0) and "PYTEST_XDIST_WORKER" not in os.environ:
        serve_workers()
    gc.disable()


def pytest_collection_finish() -> None:
    """Nothing of what was imported meanwhile is ever garbage: looking for it was a sixth of the time."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the first problems of the quick start's files: a run that starts looks at every one."""
    folder = tmp_path_factory.mktemp("problems")
    for name, count in SLICES.items():
        table = pq.read_table(PROBLEMS / f"{name}.parquet")
        pq.write_table(table.slice(0, count), folder / f"{name}.parquet")
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, problems: Path) -> Path:
    """A smoke run that was never interrupted; tests only read it."""
    return made_once(tmp_path_factory, "whole", lambda output: mstar(*smoke_arguments(problems, output)))


@pytest.fixture
def make_config(tmp_path: Path, problems: Path) -> Callable[..., Config]:
    """A configuration of the quick start's model and of few of its problems; keyword arguments replace whole
    sections.
    """

    def make(**sections: Any) -> Config:
        tree: dict[str, Any] = {
            "name": "test",
            "output": str(tmp_path / "run"),
            "model": {"path": str(BASE)},
            "iterations": {"count": 2, "problems_share": 0.125},
            "data": {
                "train": str(problems / "train.parquet"),
                "validation": str(problems / "validation.parquet"),
                "tests": {"heldout": str(problems / "heldout.parquet")},
            },
            "prompt": {"version": "question-1", "step_separator": ";"},
            "generate": {"samples_per_problem": 4, "max_tokens": 60, "problems_per_chunk": 8},
            "train": {"learning_rate": 1e-4, "batch_size": 4},
            "evaluate": {"temperatures": [1.0], "samples_per_problem": 2},
            "adapt": {"policy": "fixed"},
        }
        tree |= sections
        tree["model"] = {"threads": 1, **tree["model"]}  # pytest's workers have the other cores
        return parse_config(tree, "test")

    return make


def parse_small(**sections: Any) -> Config:
    """A configuration whose files need not exist; keyword arguments replace whole sections."""
    tree = {
        "name": "small",
        "output": "nowhere",
        "model": {"path": "policy"},
        "iterations": {"count": 2},
        "data": {"train": "train", "validation": "validation", "tests": {"heldout": "heldout"}},
        "adapt": {"policy": "pass_at_k"},
    }
    return parse_config({**tree, **sections}, "test")


@pytest.fixture
def prm_folder(tmp_path: Path) -> Path:
    """A process reward model with random weights, whose steps end with ";"."""
    from tests.tiny_models import save_tiny_prm

    return save_tiny_prm("qwen3_vl", tmp_path / "prm")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting needs privileges: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
