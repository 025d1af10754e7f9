"""What tests need to know about a `Child` beyond its interface."""

from __future__ import annotations

from uvr.separation.child_process import Child


def pid_of(child: Child) -> int | None:
    """The process id of `child`; None while it has no process."""
    return child._process.pid if child._process else None
