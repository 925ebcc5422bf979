"""A skip fails where the machine could have run the test."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

MODULE = """
import pytest

@pytest.mark.skipif(True, reason="needs CUDA")
def test_marked(): pass

def test_called():
    pytest.skip("mounting needs privileges")

@pytest.mark.xfail(raises=ValueError)
def test_expected(): raise ValueError
"""


@pytest.mark.parametrize(
    "may_skip, found",
    [
        (None, "2 skipped, 1 xfailed"),
        ("", "1 failed, 1 xfailed, 1 error"),
        ("cuda", "1 failed, 1 skipped, 1 xfailed"),
        ("CUDA,privileges", "2 skipped, 1 xfailed"),
    ],
)
def test_only_what_is_lacking_excuses_a_skip(tmp_path: Path, may_skip: str | None, found: str) -> None:
    assert run_pytest(tmp_path, MODULE, may_skip).startswith(found)


def test_a_whole_module_that_is_skipped_counts_too(tmp_path: Path) -> None:
    module = 'import pytest\npytest.importorskip("no_such_module")\n'
    assert run_pytest(tmp_path, module, None).startswith("1 skipped")
    assert run_pytest(tmp_path, module, "CUDA").startswith("1 error")


def run_pytest(folder: Path, module: str, may_skip: str | None) -> str:
    """The last line of a run of this module."""
    (folder / "test_it.py").write_text(module)
    environment = {key: value for key, value in os.environ.items() if key != "MSTAR_MAY_SKIP"}
    environment |= {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment |= {} if may_skip is None else {"MSTAR_MAY_SKIP": may_skip}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.skips",
        "-p",
        "no:cacheprovider",
        "test_it.py",
    ]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.stdout.strip().splitlines()[-1]
