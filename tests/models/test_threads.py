"""The cores that a process may use, from control groups as Linux shows them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mstar.config import Model
from mstar.models.threads import allowed_cores, cgroup_cores, set_threads


def write(system: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (system / name).parent.mkdir(parents=True, exist_ok=True)
        (system / name).write_text(content)
    return system


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        (
            {
                "proc/self/cgroup": "0::/pods/pod1/main\n",
                "sys/fs/cgroup/pods/pod1/main/cpu.max": "max 100000\n",
                "sys/fs/cgroup/pods/pod1/cpu.max": "200000 100000\n",
                "sys/fs/cgroup/pods/cpu.max": "800000 100000\n",
            },
            2.0,
        ),
        (
            {
                "proc/self/cgroup": "9:memory:/docker/ab\n4:cpu,cpuacct:/docker/ab\n0::/docker/ab\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            3.0,
        ),
        (
            {
                "proc/self/cgroup": "2:cpuset:/\n1:cpu:/a/b\n",
                "sys/fs/cgroup/cpu/a/b/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/a/b/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
            },
            0.5,
        ),
        ({}, None),
    ],
)
def test_the_smallest_quota_around_a_process_counts(
    files: dict[str, str], cores: float | None, tmp_path: Path
) -> None:
    assert cgroup_cores(write(tmp_path, files)) == cores


def test_a_quota_bounds_the_cores_and_leaves_one(tmp_path: Path) -> None:
    mine = len(os.sched_getaffinity(0))
    group = {"proc/self/cgroup": "0::/\n"}
    for quota, expected in (("50000", 1), ("6400000", mine), ("max", mine)):
        system = write(tmp_path / quota, {**group, "sys/fs/cgroup/cpu.max": f"{quota} 100000"})
        assert allowed_cores(system) == expected


@pytest.mark.parametrize(
    ("own", "found"),
    [
        ({}, ["PASSIVE", "1000"]),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, ["ACTIVE", None]),
        ({"GOMP_SPINCOUNT": "7"}, [None, "7"]),
    ],
)
def test_threads_sleep_after_a_moment_unless_the_user_says_otherwise(
    own: dict[str, str], found: list[str | None]
) -> None:
    """Said before torch is loaded, which reads it then."""
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    code = "import sys, mstar, os; assert 'torch' not in sys.modules; "
    code += f"print([os.environ.get(name) for name in {names}])"
    environment = {name: value for name, value in os.environ.items() if name not in names} | own
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(found)


def test_what_the_configuration_says_goes_first() -> None:
    before = torch.get_num_threads()
    try:
        assert set_threads(Model(path="x", threads=3)) == 3 == torch.get_num_threads()
        assert set_threads(Model(path="x")) == allowed_cores() == torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
