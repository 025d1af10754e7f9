"""The number of usable cores, from the files that Linux provides in each kind of container."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from uvr.separation import cpu_limits
from uvr.separation.cpu_limits import usable_cores

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch) -> None:
    monkeypatch.setattr(cpu_limits.os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)


def machine(root: Path, membership: str, groups: dict[str, str]) -> Path:
    """A root folder in which a process sees `membership` and these files of control groups."""
    files = {"proc/self/cgroup": membership, **{f"sys/fs/cgroup/{name}": text for name, text in groups.items()}}
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def test_without_control_groups_all_allowed_cores_count(tmp_path):
    assert usable_cores(tmp_path) == 8


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("20000 100000", 1), ("1600000 100000", 8)],
)
def test_the_time_quota_of_a_container_is_rounded_up(tmp_path, limit, expected):
    assert usable_cores(machine(tmp_path, "0::/", {"cpu.max": limit})) == expected


def test_the_smallest_quota_of_a_group_and_its_parents_applies(tmp_path):
    groups = {
        "pods/cpu.max": "600000 100000",
        "pods/pod/cpu.max": "300000 100000",
        "pods/pod/container/cpu.max": "max 100000",
    }
    root = machine(tmp_path, "0::/pods/pod/container", groups)
    assert usable_cores(root) == 3


def test_version_1_quotas_apply_even_if_the_path_is_that_of_the_host(tmp_path):
    membership = "9:name=systemd:/docker/abc\n4:cpu,cpuacct:/docker/abc"
    groups = {"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"}
    assert usable_cores(machine(tmp_path, membership, groups)) == 3


def test_minus_one_is_no_quota_in_version_1(tmp_path):
    groups = {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}
    assert usable_cores(machine(tmp_path, "1:cpu:/", groups)) == 8


def test_files_that_cannot_be_parsed_are_ignored(tmp_path):
    assert usable_cores(machine(tmp_path, "0::/", {"cpu.max": "a lot"})) == 8


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system ties no process to a core")
def test_a_process_bound_to_one_core_may_use_one():
    program = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]);"
        "from uvr.separation.cpu_limits import usable_cores; print(usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
