"""How much memory this process and its children may use, and how much a child uses.

The machine's memory is misleading in a container: its control group may allow less, and a process that exceeds that is
killed. Other systems than Linux have no control groups and no /proc; there, `ps` tells the memory of a child.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from uvr.separation.control_groups import ROOT, groups_of

_KIB = 1024


@dataclass(frozen=True)
class ProcessMemory:
    """The memory of one process, swapped memory included; what it shares with others is counted in part."""

    now_bytes: int
    max_bytes: int
    """The highest so far."""


def usable_memory_bytes(root: Path = ROOT) -> int:
    """The memory of the machine, or the lowest limit of this process's control groups if that is less.

    `root` is the folder that contains proc and sys.
    """
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for group in groups_of("memory", root):
        for name in ("memory.max", "memory.limit_in_bytes"):  # of version 2 and 1; "max" means no limit
            with suppress(OSError, ValueError):
                limits.append(int((group / name).read_text(encoding="ascii")))
    return min(limits)


def available_memory_bytes(root: Path = ROOT) -> int:
    """The memory that is left for this process, on the machine and below the limits of its control groups.

    Cached files count as left. Systems that do not tell it are taken to have all their memory left.
    """
    left = [usable_memory_bytes(root)]
    with suppress(OSError, KeyError, ValueError):
        left.append(_kib_fields(root / "proc/meminfo")["MemAvailable"])
    names = (("memory.max", "memory.current", ""), ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"))
    for group in groups_of("memory", root):
        for limit, usage, prefix in names:  # of version 2 and 1; "max" means no limit
            with suppress(OSError, ValueError):
                used = int((group / usage).read_text(encoding="ascii")) - _cached_bytes(group, prefix)
                left.append(int((group / limit).read_text(encoding="ascii")) - used)
    return max(min(left), 0)


def _cached_bytes(group: Path, prefix: str) -> int:
    """The memory of files that a control group would give up first."""
    lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    counts = {name: int(value) for name, _, value in (line.partition(" ") for line in lines)}
    return counts.get(f"{prefix}inactive_file", 0) + counts.get(f"{prefix}active_file", 0)


def memory_of(pid: int) -> ProcessMemory | None:
    """The memory of the process `pid`; None if the system does not tell it, or if the process has ended."""
    with suppress(OSError, KeyError, ValueError):
        return _from_proc(Path(f"/proc/{pid}"))
    with suppress(OSError, ValueError):
        shown = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603,S607
        now_bytes = int(shown.stdout) * _KIB
        return ProcessMemory(now_bytes, now_bytes)
    return None


def _from_proc(process: Path) -> ProcessMemory:
    status = _kib_fields(process / "status")
    try:
        # The libraries of several networks are in memory once: each process counts its share of them.
        shares = _kib_fields(process / "smaps_rollup")
        now_bytes = shares["Pss"] + shares.get("SwapPss", 0)
    except (OSError, KeyError):  # a kernel older than 4.14, or one that hides this
        now_bytes = status["VmRSS"] + status.get("VmSwap", 0)
    return ProcessMemory(now_bytes, max(status["VmHWM"], now_bytes))


def _kib_fields(file: Path) -> dict[str, int]:
    """The lines "Name:   123 kB" of a file below /proc, in bytes."""
    fields = {}
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            fields[name] = int(value.removesuffix(" kB")) * _KIB
    return fields
