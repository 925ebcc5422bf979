"""How many threads torch may use: the cores that this process is allowed, by affinity and by cgroup quota.

A container's CPU limit is a quota that neither `os.cpu_count` nor `sched_getaffinity` shows: on a node of 64
cores torch would start 64 threads for 2 cores' worth of time.
"""

import os
from pathlib import Path

import torch

from mstar.cgroups import group_folders
from mstar.config import Model


def set_threads(model: Model) -> int:
    """Give torch the cores that this process may use, and no more: oversubscribed cores are many times
    slower.
    """
    threads = model.threads or allowed_cores()
    torch.set_num_threads(threads)
    return threads


def allowed_cores(system: Path = Path("/")) -> int:
    """Whole cores of this process; `system` is where /proc and /sys are."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_cores(system)
    return allowed if quota is None else max(1, min(allowed, int(quota)))


def cgroup_cores(system: Path) -> float | None:
    """The smallest CPU quota of this process's control group and of those around it, in cores."""
    quotas = (_quota(folder) for folder in group_folders("cpu", system))
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota(group: Path) -> float | None:
    """Of one control group in cores: `cpu.max` (version 2) or `cpu.cfs_quota_us` (version 1)."""
    try:
        if (group / "cpu.max").is_file():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text()
        return int(quota) / int(period) if quota != "max" and int(quota) > 0 else None
    except (OSError, ValueError):
        return None
