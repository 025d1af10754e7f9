"""The promises of a child process, with real processes that really die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog

from tests.support.children import pid_of
from tests.support.engines import STEPS, Deed, FailingBuild, ScriptedEngine, slow_build
from tests.support.processes import is_running
from tests.support.waiting import PATIENCE_S, PROMPT_S, eventually
from uvr.errors import CancelledError, CrashError, DiskFullError, PermanentError, TransientError
from uvr.metrics.definitions import UNSENT
from uvr.separation.child_process import Child
from uvr.separation.engine import Separation
from uvr.separation.progress import ignore_progress, never_cancelled

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child(ScriptedEngine, "network")
    yield child
    child.close()


def run(
    child: Child,
    deed: str = "nothing",
    *,
    timeout_s: float = 60,
    on_progress: Callable[[float], None] = ignore_progress,
    cancelled: Callable[[], bool] = never_cancelled,
) -> Separation:
    separation: Separation = child.run(Deed(deed), timeout_s=timeout_s, on_progress=on_progress, cancelled=cancelled)
    return separation


def exists(pid: int) -> bool:
    """Whether the process exists, even as a zombie."""
    return Path(f"/proc/{pid}").exists()


def open_files() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


# Starting


def test_start_blocks_until_the_network_is_warm(child: Child) -> None:
    child.start()
    assert child.provider == "warmed up 1 times"


def test_start_keeps_a_running_child(child: Child) -> None:
    child.start()
    first = pid_of(child)
    child.start()
    assert pid_of(child) == first


def test_an_error_while_loading_is_raised_and_leaves_no_process() -> None:
    child = Child(FailingBuild(PermanentError("The model file is damaged.", file="m.onnx")), "network")
    with pytest.raises(PermanentError, match=r"^The model file is damaged\.$") as raised:
        child.start()
    assert raised.value.facts == {"file": "m.onnx"}
    assert pid_of(child) is None


def test_an_unexpected_error_while_loading_has_a_neutral_message(capfd: pytest.CaptureFixture[str]) -> None:
    child = Child(FailingBuild(RuntimeError("INVALID_PROTOBUF")), "network")
    with pytest.raises(TransientError, match=r"^The network could not be loaded\."):
        child.start()
    assert "INVALID_PROTOBUF" in capfd.readouterr().err


def test_a_death_while_loading_names_the_signal() -> None:
    with pytest.raises(CrashError, match="SIGKILL"):
        Child(FailingBuild(), "network").start()


# Separating


def test_the_parent_receives_a_separation_with_all_its_facts(child: Child) -> None:
    assert run(child) == Separation({"vocals": Path("out/vocals.wav")}, 12.5, 44_100, 2, 1.0, "warmed up 1 times")


def test_the_child_stays_warm_from_song_to_song(child: Child) -> None:
    child.start()
    pid = pid_of(child)
    for _ in range(3):
        assert run(child).provider == "warmed up 1 times"
    assert pid_of(child) == pid


def test_progress_arrives_in_order(child: Child) -> None:
    shares: list[float] = []
    run(child, "reports_progress", on_progress=shares.append)
    assert shares == [step / STEPS for step in range(1, STEPS + 1)]


def test_it_works_from_a_worker_thread_that_ends(child: Child) -> None:
    done: list[Separation] = []
    for _ in range(2):
        thread = threading.Thread(target=lambda: done.append(run(child)))
        thread.start()
        thread.join()
    assert [separation.provider for separation in done] == ["warmed up 1 times"] * 2


def test_log_lines_of_the_child_name_their_task(
    capfd: pytest.CaptureFixture[str],
) -> None:
    child = Child(ScriptedEngine, "network", log_format="json")
    with structlog.contextvars.bound_contextvars(task_uuid="t-1", process="processor"):
        run(child, "logs")
    child.close()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if "engine.says" in line]
    assert [(line["task_uuid"], line["process"]) for line in lines] == [("t-1", "network")]


# Errors


def test_a_permanent_error_is_raised_in_the_parent_and_the_child_continues(child: Child) -> None:
    child.start()
    pid = pid_of(child)
    with pytest.raises(PermanentError, match=r"^This is not audio\.$") as raised:
        run(child, "is_no_audio")
    assert raised.value.facts == {"format": "text"}
    run(child)
    assert pid_of(child) == pid


def test_a_transient_error_is_raised_with_its_retry_delay(child: Child) -> None:
    with pytest.raises(TransientError, match=r"^The disk is full\.$") as raised:
        run(child, "asks_for_another_try")
    assert raised.value.retry_after_s == 7.0
    assert raised.value.facts == {"free_bytes": 0}


def test_a_full_disk_in_the_child_is_raised_as_such(child: Child) -> None:
    with pytest.raises(DiskFullError) as raised:
        run(child, "fills_the_disk")
    assert raised.value.retry_after_s == 60


def test_an_unexpected_error_has_a_neutral_message_and_is_logged_in_full(capfd: pytest.CaptureFixture[str]) -> None:
    child = Child(ScriptedEngine, "network", log_format="json")
    with structlog.contextvars.bound_contextvars(task_uuid="t-2"), pytest.raises(TransientError) as raised:
        run(child, "breaks")
    child.close()
    assert "ZeroDivisionError" not in raised.value.message
    [line] = [json.loads(line) for line in capfd.readouterr().err.splitlines() if "separation.broke" in line]
    assert "ZeroDivisionError: a fault of ours" in line["exception"]
    assert line["task_uuid"] == "t-2"


# Deaths


@pytest.mark.parametrize(
    ("song", "cause"),
    [
        ("segfaults", "SIGSEGV"),
        ("is_killed", "SIGKILL, usually sent by the kernel's out-of-memory killer"),
        ("exits", "exit code 3"),
    ],
)
def test_a_death_is_a_crash_that_names_its_cause_and_a_new_child_takes_over(
    child: Child, song: str, cause: str
) -> None:
    child.start()
    dead = pid_of(child)
    with pytest.raises(CrashError) as raised:
        run(child, song)
    assert raised.value.message == f"The network process of the separation died: {cause}."
    assert not exists(dead)
    run(child)
    assert pid_of(child) not in (dead, None)


@pytest.mark.usefixtures("nothing_counted")
def test_deaths_are_counted_but_intended_ends_are_not(child: Child) -> None:
    with pytest.raises(CrashError):
        run(child, "segfaults")
    with pytest.raises(TransientError):
        run(child, "never_ends", timeout_s=0.5)
    run(child)
    os.kill(pid_of(child), signal.SIGKILL)
    os.waitid(os.P_PID, pid_of(child), os.WEXITED | os.WNOWAIT)
    run(child)
    child.close()
    assert UNSENT.take() == {("uvr_child_crashes_total", "", "network"): 2}


def test_progress_reported_before_a_death_still_arrives(child: Child) -> None:
    shares: list[float] = []
    with pytest.raises(CrashError):
        run(child, "is_killed", on_progress=shares.append)
    assert shares == [0.5]


def test_a_death_between_two_songs_fails_neither(child: Child) -> None:
    child.start()
    dead = pid_of(child)
    os.kill(dead, signal.SIGKILL)
    os.waitid(os.P_PID, dead, os.WEXITED | os.WNOWAIT)
    run(child)
    assert not exists(dead)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's out-of-memory killer is Linux's")
def test_the_child_offers_itself_to_the_out_of_memory_killer(child: Child) -> None:
    child.start()
    assert Path(f"/proc/{pid_of(child)}/oom_score_adj").read_text().strip() == "1000"


# Cancelling and time limits


def test_cancelling_kills_the_child_at_once(child: Child) -> None:
    child.start()
    pid = pid_of(child)
    cancelled = threading.Event()
    threading.Timer(0.3, cancelled.set).start()
    began = time.monotonic()
    with pytest.raises(CancelledError):
        run(child, "never_ends", cancelled=cancelled.is_set)
    assert time.monotonic() - began < PROMPT_S
    assert cancelled.is_set()
    assert not exists(pid)


def test_cancelled_is_called_five_times_a_second_while_the_child_is_silent(child: Child) -> None:
    child.start()
    asked: list[None] = []
    run(child, "takes_a_second", cancelled=lambda: bool(asked.append(None)))
    assert len(asked) >= 5


def test_a_song_that_exceeds_the_time_limit_is_stopped(child: Child) -> None:
    child.start()
    pid = pid_of(child)
    with pytest.raises(TransientError, match=r"^The separation took longer than 0\.3 s"):
        run(child, "never_ends", timeout_s=0.3)
    assert not exists(pid)
    run(child)


def test_the_time_limit_includes_loading_the_network() -> None:
    child = Child(slow_build, "network")
    with pytest.raises(TransientError, match="took longer"):
        run(child, timeout_s=0.5)
    assert pid_of(child) is None


def test_an_error_in_the_progress_callback_stops_the_song(child: Child) -> None:
    def broken(_share: float) -> None:
        raise KeyError("the caller's own")

    with pytest.raises(KeyError):
        run(child, "never_ends", on_progress=broken)
    assert pid_of(child) is None
    run(child)


# Closing


def test_close_ends_the_child_and_may_be_called_twice(child: Child) -> None:
    child.start()
    pid = pid_of(child)
    child.close()
    child.close()
    assert not exists(pid)
    assert pid_of(child) is None


def test_closing_before_the_start_has_no_effect(child: Child) -> None:
    before = open_files()
    child.close()
    assert pid_of(child) is None
    assert open_files() == before
    run(child)
    assert is_running(pid_of(child))


def test_no_pipe_is_left_open_however_a_child_ends(child: Child) -> None:
    run(child)  # what multiprocessing opens once for the whole process
    child.close()
    before = open_files()
    for song, error in (("segfaults", CrashError), ("never_ends", TransientError)):
        child.start()
        with pytest.raises(error):
            run(child, song, timeout_s=1 if error is TransientError else PATIENCE_S)
    with pytest.raises(CrashError):
        Child(FailingBuild(), "network").start()
    run(child)
    child.close()
    assert open_files() == before


# Parent and child


@contextmanager
def parent_at_work(song: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A parent in its own process group, and the process id of its child, which is running a job."""
    command = [sys.executable, "-m", "tests.support.separation_parent", song]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        try:
            yield parent, pid
        finally:
            parent.kill()


def test_the_child_ends_when_its_parent_is_killed() -> None:
    with parent_at_work("never_ends") as (parent, child_pid):
        parent.kill()
        eventually(lambda: not is_running(child_pid), "the child ends", PROMPT_S)


def test_the_child_ignores_signals_to_the_process_group() -> None:
    with parent_at_work("takes_a_second") as (parent, _):
        os.killpg(parent.pid, signal.SIGTERM)
        assert parent.communicate(timeout=PATIENCE_S)[0] == "done\n"


def test_a_child_ignores_signals_from_its_first_moment(child: Child) -> None:
    signalled: list[int] = []

    def signal_soon() -> None:
        while pid_of(child) is None:
            time.sleep(0.001)
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(pid_of(child), number)
        signalled.append(pid_of(child))

    thread = threading.Thread(target=signal_soon)
    thread.start()
    child.start()
    thread.join()
    assert signalled == [pid_of(child)]


def test_a_parent_that_does_not_close_its_child_still_ends() -> None:
    with parent_at_work("takes_a_second") as (parent, child_pid):
        assert parent.communicate(timeout=PATIENCE_S)[0] == "done\n"
        assert parent.returncode == 0
        assert not is_running(child_pid)


def test_the_child_does_not_import_the_main_module_of_its_parent(tmp_path: Path) -> None:
    program = """
from tests.support.children import pid_of
from tests.support.engines import ScriptedEngine
from uvr.separation.child_process import Child

print("imported")
child = Child(ScriptedEngine, "network")
child.start()
child.close()
"""
    (tmp_path / "main.py").write_text(program)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(tmp_path / "main.py")]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    assert done.stdout.count("imported") == 1
