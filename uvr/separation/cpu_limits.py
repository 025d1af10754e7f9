"""How many processor cores this process may really use.

The machine's count misleads in two places: a process may be tied to some of the cores (`taskset`, `--cpuset-cpus`), and
a container may get only so much processor time (`--cpus`, limits in Kubernetes). With more threads than that, the time
is spent early in each tenth of a second and then all of them stand still.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

_ROOT = Path("/")


def usable_cores(root: Path = _ROOT) -> int:
    """Cores that this process may run on, or its share of processor time rounded up, whichever is less; at least 1.

    `root` is where proc and sys are found.
    """
    shares = [math.ceil(share) for share in _time_shares(root)]
    return max(1, min([_allowed_cores(), *shares]))


def _allowed_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _time_shares(root: Path) -> Iterator[float]:
    """Every limit on processor time that holds for this process, in cores.

    Limits of a control group hold for all groups below it. Inside a container the path in /proc may be one that only
    its host knows; the container's own group is then the mount itself, which is looked at as the last parent.
    """
    for mount, path in _groups(root):
        group = PurePosixPath(path.lstrip("/"))
        for folder in (group, *group.parents):
            with suppress(OSError, ValueError):
                yield _share(mount / folder)


def _groups(root: Path) -> Iterator[tuple[Path, str]]:
    """Where the control groups that may limit processor time are mounted, and this process' own path below."""
    mounts = root / "sys/fs/cgroup"
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:  # version 2
                yield mounts, path
            elif "cpu" in controllers.split(","):
                yield mounts / "cpu", path


def _share(group: Path) -> float:
    """The limit of one control group, of version 2 or 1; `ValueError` or `OSError` where there is none."""
    if (group / "cpu.max").exists():
        quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
    else:
        quota, period = ((group / f"cpu.cfs_{part}_us").read_text(encoding="ascii") for part in ("quota", "period"))
    share = int(quota) / int(period)  # version 2 says "max" where there is no limit, version 1 says -1
    if share <= 0:
        raise ValueError("no limit")
    return share
