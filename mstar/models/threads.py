"""How many threads torch may use: the cores that this process is allowed, by affinity and by cgroup quota.

A container's CPU limit is a quota that neither `os.cpu_count` nor `sched_getaffinity` shows: on a node of 64
cores torch would start 64 threads for 2 cores' worth of time.
"""

import os
from pathlib import Path

import torch

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
    try:
        lines = (system / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mounts = ("sys/fs/cgroup", "sys/fs/cgroup/unified")
        elif "cpu" in controllers.split(","):
            mounts = ("sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct")
        else:
            continue
        group = Path(path.lstrip("/"))
        for mount in mounts:
            quotas += [_quota(system / mount / around) for around in (group, *group.parents)]
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
