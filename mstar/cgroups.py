"""Which control groups this process is in: a container's limits are there, and nowhere else to be seen."""

from collections.abc import Iterator
from pathlib import Path


def group_folders(controller: str, system: Path = Path("/")) -> Iterator[Path]:
    """The folders of this process's group and of those around it, in both versions of control groups.

    Some of them need not exist. `system` is where /proc and /sys are.
    """
    try:
        lines = (system / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        group = Path(path.lstrip("/"))
        if not controllers:
            mounts = ("sys/fs/cgroup", "sys/fs/cgroup/unified")
        elif controller in controllers.split(","):
            mounts = (f"sys/fs/cgroup/{controller}", f"sys/fs/cgroup/{controllers}")
        else:
            continue
        for mount in mounts:
            for around in (group, *group.parents):
                yield system / mount / around
