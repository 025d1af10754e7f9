"""The number of processor cores that this process may use.

The machine's core count is misleading in two cases: a process may be bound to some of the cores (`taskset`,
`--cpuset-cpus`), and a container may have a quota of processor time (`--cpus`, Kubernetes limits). With more threads
than the quota allows, the time is used up early in each period of 100 ms, and then all threads stall.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

_ROOT = Path("/")


def usable_cores(root: Path = _ROOT) -> int:
    """The number of cores that this process may run on, or its time quota in cores rounded up if that is less.

    At least 1. `root` is the folder that contains proc and sys.
    """
    limits = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    # The quota of a control group applies to all groups below it. Inside a container, /proc may show a path that only
    # exists on the host. The container's own group is then the mount point itself: the last parent checked here.
    for mount, path in _control_groups(root):
        group = PurePosixPath(path.lstrip("/"))
        for folder in (group, *group.parents):
            with suppress(OSError, ValueError):
                limits.append(math.ceil(_quota(mount / folder)))
    return max(1, min(limits))


def _control_groups(root: Path) -> Iterator[tuple[Path, str]]:
    """Mount points of the control groups that may limit processor time, each with this process's path below it."""
    mounts = root / "sys/fs/cgroup"
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:  # version 2
                yield mounts, path
            elif "cpu" in controllers.split(","):
                yield mounts / "cpu", path


def _quota(group: Path) -> float:
    """The quota of one control group, version 2 or 1, in cores. Raises `ValueError` or `OSError` if it has none."""
    if (group / "cpu.max").exists():
        quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
    else:
        quota, period = ((group / f"cpu.cfs_{part}_us").read_text(encoding="ascii") for part in ("quota", "period"))
    cores = int(quota) / int(period)  # without a quota, version 2 has "max" and version 1 has -1
    if cores <= 0:
        raise ValueError("no quota")
    return cores
