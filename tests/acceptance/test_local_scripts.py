"""start_local.sh and its companions, as a user runs them in a fresh checkout."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests

from tests.support.checkout import Checkout
from uvr.models.spleeter import example_song

PROCESSES = {"redis", "api", "processor", "uploader"}


@contextmanager
def started(checkout: Checkout) -> Iterator[Checkout]:
    try:
        start = checkout.run("start_local.sh")
        assert start.returncode == 0, start.stdout + start.stderr
        yield checkout
    finally:
        checkout.run("stop_local.sh", SHUTDOWN_GRACE_SECONDS="1")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[Checkout]:
    """A running service as it comes; tests leave it as they found it."""
    folder = tmp_path_factory.mktemp("checkout")
    with started(Checkout(folder, model_dir, is_fresh=True)) as checkout:
        yield checkout


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie, which only waits for its parent, does not."""
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    if Path("/proc/self").exists():
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_first_start_writes_env_with_random_passwords_for_this_user_only(service):
    assert stat.S_IMODE((service.folder / ".env").stat().st_mode) == 0o600
    assert len(service.variable("BASIC_AUTH_PASSWORD")) == 32
    assert len(service.variable("REDIS_PASSWORD")) == 32


def test_second_start_says_that_it_runs_already(service):
    pids = service.pids()
    again = service.run("start_local.sh")
    assert again.returncode == 0
    assert f"runs already: http://127.0.0.1:{service.environment['API_PORT']}" in again.stdout
    assert service.pids() == pids


def test_status_shows_every_process_up(service):
    status = service.run("status_local.sh")
    assert status.returncode == 0, status.stdout + status.stderr
    rows = {line.split()[0]: line for line in status.stdout.splitlines()[1:]}
    assert rows.keys() == PROCESSES
    for name, pid in service.pids().items():
        assert rows[name].split()[1] == str(pid)
        assert rows[name].endswith("up")


def test_test_api_sends_a_local_file_through_the_service(service, model_dir, tmp_path):
    song = tmp_path / 'a "song"; with \\ and, é.mp3'
    song.symlink_to(example_song(model_dir))
    sent = service.run("test_api.sh", str(song))
    assert sent.returncode == 0, sent.stdout + sent.stderr
    for stem in ("vocals", "instrumental"):
        assert f"_{stem}.wav?" in sent.stdout


def test_test_api_without_a_song_sends_the_one_that_comes_with_the_model(service, model_dir):
    (service.folder / "models").symlink_to(model_dir)
    sent = service.run("test_api.sh")
    assert sent.returncode == 0, sent.stdout + sent.stderr
    assert "_vocals.wav?" in sent.stdout


def test_test_api_names_the_file_that_is_not_there(service):
    sent = service.run("test_api.sh", "no-such-song.mp3")
    assert sent.returncode == 1
    assert "There is no file no-such-song.mp3." in sent.stderr


def test_next_start_brings_back_what_died(service):
    before = service.pids()
    os.kill(before["uploader"], signal.SIGKILL)
    assert service.run("status_local.sh").returncode == 1
    assert service.run("start_local.sh").returncode == 0
    after = service.pids()
    assert after.pop("uploader") != before.pop("uploader")
    assert after == before


def test_restart_makes_new_processes_and_keeps_tasks_and_links(service, model_dir):
    sent = service.run("test_api.sh", str(example_song(model_dir)))
    before = service.pids()
    assert service.run("restart_local.sh").returncode == 0
    assert service.pids().keys() == before.keys()
    assert not set(service.pids().values()) & set(before.values())
    link = sent.stdout.split()[-1]
    with requests.Session() as session:
        session.trust_env = False
        assert session.get(link, timeout=60).content[:4] == b"RIFF"


def test_stop_ends_every_process(tmp_path, model_dir):
    with started(Checkout(tmp_path, model_dir)) as checkout:
        pids = checkout.pids()
        assert pids.keys() == PROCESSES
        assert checkout.run("stop_local.sh").returncode == 0
        assert not any(alive(pid) for pid in pids.values())
        assert checkout.run("status_local.sh").returncode == 1


def test_port_in_use_is_named_and_nothing_is_started(tmp_path, model_dir):
    checkout = Checkout(tmp_path, model_dir)
    with socket.create_server(("127.0.0.1", int(checkout.environment["API_PORT"]))):
        start = checkout.run("start_local.sh")
    assert start.returncode == 1
    assert f"port {checkout.environment['API_PORT']}" in start.stderr
    assert "set API_PORT" in start.stderr
    assert checkout.pids() == {}


def test_port_of_redis_taken_by_another_program_is_named(tmp_path, model_dir):
    checkout = Checkout(tmp_path, model_dir)
    with socket.create_server(("127.0.0.1", int(checkout.environment["REDIS_PORT"]))):
        start = checkout.run("start_local.sh")
    assert start.returncode == 1
    assert f"localhost:{checkout.environment['REDIS_PORT']}" in start.stderr
    assert checkout.pids() == {}


def test_model_that_cannot_be_had_leaves_nothing_running(tmp_path, model_dir):
    checkout = Checkout(tmp_path, model_dir, MODEL_NAME="no-such-model")
    start = checkout.run("start_local.sh")
    assert start.returncode == 1
    assert "no-such-model" in start.stderr
    assert checkout.pids() == {}


def test_process_that_dies_at_the_start_takes_the_others_with_it(tmp_path, model_dir):
    checkout = Checkout(tmp_path, model_dir)
    (tmp_path / "uploader.py").write_text("raise SystemExit('the uploader has a reason')\n")
    start = checkout.run("start_local.sh")
    assert start.returncode == 1
    assert "uploader did not start" in start.stderr
    assert "the uploader has a reason" in start.stderr
    assert checkout.pids() == {}


def test_stop_without_a_start_is_no_error(tmp_path, model_dir):
    assert Checkout(tmp_path, model_dir).run("stop_local.sh").returncode == 0


def test_pid_that_belongs_to_another_program_is_not_killed(tmp_path, model_dir):
    checkout = Checkout(tmp_path, model_dir)
    (tmp_path / "run").mkdir()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        (tmp_path / "run" / "api.pid").write_text(f"{stranger.pid}\n")
        assert checkout.run("stop_local.sh").returncode == 0
        assert stranger.poll() is None
        stranger.kill()
