"""The control groups of Linux that limit this process: containers and service managers set their limits there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

ROOT = Path("/")


def groups_of(controller: str, root: Path = ROOT) -> Iterator[Path]:
    """The folders of this process's group and of all groups above it, of both versions, as far as they may exist.

    `controller` is "cpu" or "memory"; the folders have the files of its limits. `root` is the folder that contains proc
    and sys. On other systems there are none.
    """
    # The limit of a control group applies to all groups below it. Inside a container, /proc may show a path that only
    # exists on the host. The container's own group is then the mount point itself: the last parent.
    for mount, path in _mounts(controller, root):
        group = PurePosixPath(path.lstrip("/"))
        for folder in (group, *group.parents):
            yield mount / folder


def _mounts(controller: str, root: Path) -> Iterator[tuple[Path, str]]:
    """Mount points of the control groups with `controller`, each with this process's path below it."""
    mounts = root / "sys/fs/cgroup"
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:  # version 2
                yield mounts, path
            elif controller in controllers.split(","):
                yield mounts / controller, path
