"""Background processes with pid files: found again, stopped gently, and never mistaken for others."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scripts.local.process import Process, stop
from tests.support.waiting import eventually

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
)
BECOMES_ANOTHER_PROGRAM = "import os; os.execvp('sleep', ['sleep', '60'])"

pytestmark = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")


@pytest.fixture
def process(tmp_path: Path):
    made = Process("worker", tmp_path / "run", tmp_path / "logs")
    yield made
    stop([made], 0)


def program_of(pid: int | None) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def test_process_is_found_again_by_its_pid_file(process, tmp_path):
    process.start(["sleep", "60"], cwd=tmp_path)
    again = Process("worker", tmp_path / "run", tmp_path / "logs")
    assert again.pid() == process.pid() is not None


def test_process_that_becomes_another_program_is_still_ours(process, tmp_path):
    process.start([sys.executable, "-c", BECOMES_ANOTHER_PROGRAM], cwd=tmp_path)
    pid = process.pid()
    eventually(lambda: program_of(pid) == "sleep", "another program")
    assert process.pid() == pid is not None


def test_process_reads_its_stdin_and_writes_its_log(process, tmp_path):
    process.start(["cat"], cwd=tmp_path, stdin="a secret\n")
    eventually(lambda: process.pid() is None, "the end of its stdin")
    assert process.log_tail() == "a secret\n"


def test_log_tail_shows_nothing_of_an_earlier_start(process, tmp_path):
    for text in ("before\n", "now\n"):
        process.start(["cat"], cwd=tmp_path, stdin=text)
        eventually(lambda: process.pid() is None)
    assert process.log_tail() == "now\n"
    assert process.log_file.read_text() == "before\nnow\n"


def test_process_that_ended_does_not_run_whatever_its_pid_file_says(process, tmp_path):
    process.start(["true"], cwd=tmp_path)
    eventually(lambda: process.pid() is None, "its end")
    assert process.pid_file.exists()


def test_stop_leaves_neither_process_nor_pid_file(process, tmp_path):
    process.start(["sleep", "60"], cwd=tmp_path)
    assert stop([process], 10) == []
    assert process.pid() is None
    assert not process.pid_file.exists()


def test_process_that_ignores_the_request_is_killed_and_named(process, tmp_path):
    process.start([sys.executable, "-c", STUBBORN], cwd=tmp_path)
    eventually(lambda: "deaf" in process.log_tail(), "deafness")
    assert stop([process], 0.3) == ["worker"]
    assert process.pid() is None
