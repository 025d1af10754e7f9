"""The memory that may be used, from the files of each kind of container, and which networks are ended for another."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uvr.separation import memory
from uvr.separation.engine_factory import AudioSeparatorEngineFactory, RoformerEngineFactory
from uvr.separation.memory import available_memory_bytes, usable_memory_bytes
from uvr.separation.network_pool import networks_to_end
from uvr.separation.progress import DECODED, SEPARATED
from uvr.separation.separator import network_limit_s, share_of_network

GIB = 2**30


@pytest.fixture(autouse=True)
def eight_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {"SC_PHYS_PAGES": 8 * GIB // 4096, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(memory.os, "sysconf", pages.__getitem__)


def machine(root: Path, membership: str, limits: dict[str, str]) -> Path:
    """A root folder in which a process sees `membership` and these limits of control groups."""
    for name, text in {"proc/self/cgroup": membership, **limits}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def test_without_control_groups_the_machine_has_what_it_has(tmp_path: Path) -> None:
    assert usable_memory_bytes(tmp_path) == 8 * GIB


@pytest.mark.parametrize(("limit", "expected"), [("max", 8 * GIB), (str(4 * GIB), 4 * GIB), (str(64 * GIB), 8 * GIB)])
def test_a_container_has_what_its_group_may_use(tmp_path: Path, limit: str, expected: int) -> None:
    assert usable_memory_bytes(machine(tmp_path, "0::/", {"sys/fs/cgroup/memory.max": limit})) == expected


def test_the_lowest_limit_of_a_group_and_its_parents_applies(tmp_path: Path) -> None:
    limits = {"sys/fs/cgroup/pods/memory.max": str(3 * GIB), "sys/fs/cgroup/pods/pod/memory.max": "max"}
    assert usable_memory_bytes(machine(tmp_path, "0::/pods/pod", limits)) == 3 * GIB


def test_version_1_has_limits_of_its_own(tmp_path: Path) -> None:
    limits = {"sys/fs/cgroup/memory/memory.limit_in_bytes": str(2 * GIB)}
    assert usable_memory_bytes(machine(tmp_path, "7:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc", limits)) == 2 * GIB


MEMINFO = {"proc/meminfo": f"MemTotal: {8 * GIB >> 10} kB\nMemAvailable: {6 * GIB >> 10} kB"}


def test_a_machine_has_what_linux_says_is_available(tmp_path: Path) -> None:
    assert available_memory_bytes(machine(tmp_path, "0::/", MEMINFO)) == 6 * GIB
    assert available_memory_bytes(tmp_path / "of another system") == 8 * GIB


def test_a_container_has_what_its_group_does_not_use_yet_and_cached_files_count_as_left(tmp_path: Path) -> None:
    group = {"memory.max": str(2 * GIB), "memory.current": str(GIB)}
    group["memory.stat"] = f"anon {GIB // 2}\ninactive_file {GIB // 4}\nactive_file {GIB // 8}"
    limits = {f"sys/fs/cgroup/pod/{name}": text for name, text in group.items()}
    assert available_memory_bytes(machine(tmp_path, "0::/pod", MEMINFO | limits)) == 2 * GIB - GIB + GIB // 4 + GIB // 8


def test_version_1_has_names_of_its_own_and_never_less_than_nothing(tmp_path: Path) -> None:
    group = {"memory.limit_in_bytes": str(GIB), "memory.usage_in_bytes": str(2 * GIB)}
    group["memory.stat"] = f"cache 0\ntotal_inactive_file {GIB // 4}\ntotal_active_file 0"
    limits = {f"sys/fs/cgroup/memory/{name}": text for name, text in group.items()}
    assert available_memory_bytes(machine(tmp_path, "7:memory:/", MEMINFO | limits)) == 0


@given(
    idle=st.lists(st.integers(0, 9)).map(lambda sizes: dict(zip("abcdefghijklmnopqrstuvwxyz", sizes, strict=False))),
    needed=st.integers(0, 20),
    limit=st.integers(1, 20),
)
def test_the_least_recently_used_networks_go_and_no_more_than_necessary(
    idle: dict[str, int], needed: int, limit: int
) -> None:
    ended = networks_to_end(idle, needed, limit)
    assert ended == list(idle)[: len(ended)]
    stay_bytes = sum(size for name, size in idle.items() if name not in ended)
    assert stay_bytes + needed <= limit or len(ended) == len(idle)
    if ended:
        assert stay_bytes + idle[ended[-1]] + needed > limit


@pytest.mark.parametrize(
    ("floor_s", "per_audio_s", "audio_s", "expected_s"),
    [(3600, 20, 60, 3600), (3600, 20, 3600, 72_000), (3600, 20, 180, 3600), (3600, 0, 3600, 3600), (60, 0.5, 300, 150)],
)
def test_a_long_song_has_more_time(floor_s: float, per_audio_s: float, audio_s: float, expected_s: float) -> None:
    assert network_limit_s(floor_s, per_audio_s, audio_s) == expected_s


@pytest.mark.parametrize(
    ("inference", "times"),
    [
        ("{dim_t: 801, num_overlap: 4}", 4),
        ("{dim_t: 801}", 8),
        ("{num_overlap: 1000000}", 256),
        ("{num_overlap: a}", 1),
    ],
)
def test_a_roformer_has_time_for_every_overlap(tmp_path: Path, inference: str, times: int) -> None:
    checkpoint, description = tmp_path / "own.ckpt", tmp_path / "own.yaml"
    checkpoint.touch()
    description.write_text(f"model: {{num_bands: 60}}\ninference: {inference}\n")
    for engine in RoformerEngineFactory(checkpoint, description), AudioSeparatorEngineFactory("own.ckpt", tmp_path):
        assert network_limit_s(3600, 20, 300, engine) == max(3600, 6000 * times)


def test_the_networks_of_an_ensemble_share_the_progress() -> None:
    shares: list[float] = []
    for number in range(3):
        report = share_of_network(number, 3, shares.append)
        for own in (DECODED, 0.5, SEPARATED):
            report(own)
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == pytest.approx((DECODED, SEPARATED))
    assert shares[4] == pytest.approx(0.5)
