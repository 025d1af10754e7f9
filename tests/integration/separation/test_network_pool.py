"""Several networks in real child processes, which hold real memory: which stay, and what happens to the others."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.support.children import pid_of
from tests.support.engines import Deed, Growth, HeavyModel
from tests.support.processes import is_running
from tests.support.waiting import eventually
from uvr.errors import CancelledError, CrashError, PermanentError
from uvr.metrics.definitions import UNSENT
from uvr.separation import network_pool
from uvr.separation.child_process import Child
from uvr.separation.jobs import Job
from uvr.separation.memory import memory_of, usable_memory_bytes
from uvr.separation.network_pool import NetworkPool
from uvr.separation.progress import ignore_progress, never_cancelled

MIB = 2**20
SIZES_MIB = {"a": 60, "b": 60, "c": 60, "large": 250}
LIMIT_BYTES = 200 * MIB
"""Room for two of the small networks and their interpreters, but not for three."""


class Networks:
    """A pool with the models in `folder`, each called like its file."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self.pool = NetworkPool(partial(Child, name="network"), max_bytes)
        for name, mib in SIZES_MIB.items():
            self.contains(name, str(mib))

    def contains(self, name: str, content: str) -> None:
        (self._folder / name).write_text(content, encoding="ascii")

    def run(self, name: str, job: Job | None = None, cancelled: Callable[[], bool] = never_cancelled) -> Any:
        return self.pool.run(
            name,
            HeavyModel(self._folder / name),
            job or Deed(),
            timeout_s=60,
            on_progress=ignore_progress,
            cancelled=cancelled,
        )

    def pid(self, name: str) -> int:
        pid = pid_of(self.pool._networks[name].child)
        assert pid is not None, f"{name} is not loaded"
        return pid

    def memory_bytes(self) -> int:
        """The memory of all children that run."""
        memories = [memory_of(self.pid(name)) for name in self.pool.loaded]
        return sum(memory.now_bytes for memory in memories if memory)


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Networks]:
    monkeypatch.setattr(network_pool, "_RUNTIME_BYTES", 80 * MIB)
    opened = Networks(tmp_path, LIMIT_BYTES)
    yield opened
    opened.pool.close()


def test_networks_that_fit_together_stay_loaded(networks: Networks) -> None:
    assert networks.run("a").load_s > 0
    assert networks.run("b").load_s > 0
    before = networks.pid("a"), networks.pid("b")
    assert [networks.run(name).load_s for name in ("a", "b", "a")] == [0, 0, 0]
    assert (networks.pid("a"), networks.pid("b")) == before
    assert networks.pool.switching_costs_s == 0
    assert networks.pool.loaded == ["b", "a"]


@pytest.mark.usefixtures("nothing_counted")
def test_the_least_recently_used_network_is_ended_when_the_limit_would_be_passed(networks: Networks) -> None:
    loaded = []
    for name in ("a", "b", "a", "c", "b"):
        networks.run(name)
        loaded.append("".join(networks.pool.loaded))
        assert networks.memory_bytes() <= LIMIT_BYTES
    assert loaded == ["a", "ab", "ba", "ac", "cb"]
    assert networks.pool.switching_costs_s == networks.pool.facts("a").load_s
    ended = {series[2]: count for series, count in UNSENT.take().items() if series[0] == "uvr_models_ended_total"}
    assert ended == {"a": 1, "b": 1}


def test_a_network_larger_than_the_limit_runs_alone(networks: Networks) -> None:
    networks.run("a")
    networks.run("b")
    pids = networks.pid("a"), networks.pid("b")
    networks.run("large")
    assert networks.pool.loaded == ["large"]
    eventually(lambda: not any(map(is_running, pids)))
    assert (networks.pool.facts("large").memory_bytes or 0) > LIMIT_BYTES
    networks.run("a")
    assert networks.pool.loaded == ["a"]


def test_a_network_that_has_grown_counts_with_what_it_has(networks: Networks) -> None:
    networks.run("a")
    networks.run("b")
    networks.run("b", Growth(80 * MIB))
    assert networks.pool.loaded == ["b"]
    networks.run("a")
    assert networks.pool.loaded == ["a"], "both together would pass the limit"


def test_a_model_that_cannot_be_loaded_affects_no_other(networks: Networks) -> None:
    networks.contains("broken", "broken")
    networks.run("a")
    with pytest.raises(PermanentError, match="broken is not a network"):
        networks.run("broken")
    with capture_logs() as lines, pytest.raises(PermanentError, match="broken is not a network"):
        networks.run("broken")
    assert not lines, "it is not loaded again for every task"
    assert networks.run("a").load_s == 0
    networks.contains("broken", "9")
    assert networks.run("broken").fingerprint == "9"


def test_a_network_that_dies_while_it_is_loaded_is_a_crash_of_its_own_task(networks: Networks) -> None:
    networks.contains("deadly", "deadly")
    networks.run("a")
    with pytest.raises(CrashError, match="SIGKILL"):
        networks.run("deadly")
    assert networks.run("a").load_s == 0
    with pytest.raises(CrashError):
        networks.run("deadly")
    assert networks.pool.loaded == [], "after a death it gets all the memory"
    assert networks.run("a").load_s > 0


def test_a_network_for_which_memory_is_missing_is_loaded_alone(networks: Networks) -> None:
    networks.contains("greedy", "too large once")
    networks.run("a")
    assert networks.run("greedy").fingerprint == "1"
    assert networks.pool.loaded == ["greedy"]


def test_a_network_that_dies_idle_is_loaded_again_when_it_is_needed(networks: Networks) -> None:
    networks.run("a")
    networks.run("b")
    pid = networks.pid("a")
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert networks.run("b").load_s == 0
    assert networks.run("a").load_s > 0


def test_a_cancelled_load_leaves_no_process(networks: Networks) -> None:
    with pytest.raises(CancelledError):
        networks.run("a", cancelled=lambda: True)
    assert networks.pool.loaded == []
    assert networks.run("a").load_s > 0


def test_a_fingerprint_is_known_once_the_model_was_loaded_and_until_its_file_changes(networks: Networks) -> None:
    assert networks.pool.fingerprint("a") == ""
    networks.run("a")
    networks.run("large")
    assert networks.pool.loaded == ["large"]
    assert networks.pool.fingerprint("a") == "60"
    networks.contains("a", "59")
    assert networks.pool.fingerprint("a") == ""
    assert networks.run("a").fingerprint == networks.pool.fingerprint("a") == "59"


def test_the_memory_of_this_machine_and_of_this_process_can_be_read() -> None:
    memory = memory_of(os.getpid())
    assert memory is not None
    assert MIB < memory.now_bytes <= memory.max_bytes < usable_memory_bytes()
