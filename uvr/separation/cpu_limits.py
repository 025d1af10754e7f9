"""The number of processor cores that this process may use.

The machine's core count is misleading in two cases: a process may be bound to some of the cores (`taskset`,
`--cpuset-cpus`), and a container may have a quota of processor time (`--cpus`, Kubernetes limits). With more threads
than the quota allows, the time is used up early in each period of 100 ms, and then all threads stall.
"""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

from uvr.separation.control_groups import ROOT, groups_of


def usable_cores(root: Path = ROOT) -> int:
    """The number of cores that this process may run on, or its time quota in cores rounded up if that is less.

    At least 1. `root` is the folder that contains proc and sys.
    """
    limits = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    for group in groups_of("cpu", root):
        with suppress(OSError, ValueError):
            limits.append(math.ceil(_quota(group)))
    return max(1, min(limits))


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
