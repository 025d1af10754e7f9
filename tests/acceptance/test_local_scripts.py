"""The scripts `*_local.sh` as a user runs them in a fresh checkout."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.support.checkout import Checkout
from tests.support.processes import is_running
from uvr.models.spleeter import example_song

PROCESSES = {"redis", "api", "processor", "uploader", "log-rotation"}


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
    """A running service with the default settings; tests leave it as they found it."""
    folder = tmp_path_factory.mktemp("checkout")
    with started(Checkout(folder, model_dir, is_fresh=True)) as checkout:
        yield checkout


def test_first_start_writes_env_with_random_passwords_for_this_user_only(service):
    assert stat.S_IMODE((service.folder / ".env").stat().st_mode) == 0o600
    assert len(service.variable("BASIC_AUTH_PASSWORD")) == 32
    assert len(service.variable("REDIS_PASSWORD")) == 32


def test_nothing_that_the_service_writes_can_be_read_by_others(service: Checkout) -> None:
    folders = [service.folder / name for name in ("logs", "run", "data")]
    written = [path for folder in folders for path in (folder, *folder.rglob("*"))]
    assert {path.name for path in written} >= {"api.log", "processor.log", "uploader.log", "redis.log", "redis"}
    assert [path for path in written if stat.S_IMODE(path.lstat().st_mode) & 0o077 and not path.is_symlink()] == []


def test_second_start_says_that_the_service_is_already_running(service):
    pids = service.pids()
    again = service.run("start_local.sh")
    assert again.returncode == 0
    url = f"http://127.0.0.1:{service.environment['API_PORT']}"
    assert f"already running: {url}\n  page      {url}/  (open it" in again.stdout
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


def test_test_api_names_a_missing_file(service):
    sent = service.run("test_api.sh", "no-such-song.mp3")
    assert sent.returncode == 1
    assert "There is no file no-such-song.mp3." in sent.stderr


@contextmanager
def changed_settings(service: Checkout) -> Iterator[None]:
    """Change settings in .env after the service was started."""
    env_file = service.folder / ".env"
    before = env_file.read_text(encoding="utf-8")
    env_file.write_text(f"{before}\nMAX_AUDIO_SECONDS=61\nWEBHOOK_SECRET=a well kept one\n", encoding="utf-8")
    yield
    env_file.write_text(before, encoding="utf-8")


CHANGE = "Changed since the start: MAX_AUDIO_SECONDS, WEBHOOK_SECRET.\n./restart_local.sh applies the changes.\n"


@pytest.mark.parametrize("script", ["start_local.sh", "status_local.sh"])
def test_settings_that_changed_since_the_start_are_named_without_their_values(service: Checkout, script: str) -> None:
    pids = service.pids()
    with changed_settings(service):
        again = service.run(script)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.endswith(CHANGE)
    assert "a well kept one" not in again.stdout
    assert service.pids() == pids


def test_the_settings_of_processes_are_saved_without_their_values(service: Checkout) -> None:
    saved = list((service.folder / "run").glob("*.settings"))
    assert {file.stem for file in saved} == PROCESSES - {"log-rotation"}
    for file in saved:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert service.variable("REDIS_PASSWORD") not in file.read_text()
        assert service.variable("BASIC_AUTH_PASSWORD") not in file.read_text()


@pytest.mark.parametrize(
    ("variable", "value", "status", "reason"),
    [
        ("API_WORKERS", "none", 2, "  API_WORKERS: "),
        ("MODEL_NAME", "no-such-model", 1, 'There is no model called "no-such-model".'),
        ("BASIC_AUTH_USERS_FILE", "no-such-file", 2, "  BASIC_AUTH_USERS_FILE: "),
        ("REDIS_HOST", "redis.invalid", 1, "No Redis answers at redis.invalid:"),
    ],
)
def test_restart_with_a_faulty_configuration_stops_nothing(
    service: Checkout, variable: str, value: str, status: int, reason: str
) -> None:
    pids = service.pids()
    restart = service.run("restart_local.sh", **{variable: value})
    assert restart.returncode == status
    assert restart.stderr.startswith("Nothing was stopped.\n")
    assert restart.stderr.splitlines()[-1].startswith(reason)
    assert service.pids() == pids


def test_next_start_brings_back_what_died_unless_settings_have_changed(service: Checkout) -> None:
    before = service.pids()
    os.kill(before["uploader"], signal.SIGKILL)
    assert service.run("status_local.sh").returncode == 1
    with changed_settings(service):
        refused = service.run("start_local.sh")
    assert refused.returncode == 1
    reason = "Not running: uploader. The other processes run with the settings that they were started with."
    assert refused.stderr == f"{reason}\n{CHANGE}"
    assert service.pids() == before
    assert not is_running(before["uploader"])
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
        assert not any(is_running(pid) for pid in pids.values())
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


def test_a_model_that_cannot_be_downloaded_leaves_nothing_running(tmp_path, model_dir):
    checkout = Checkout(tmp_path, model_dir, MODEL_NAME="no-such-model")
    start = checkout.run("start_local.sh")
    assert start.returncode == 1
    assert "no-such-model" in start.stderr
    assert checkout.pids() == {}


def test_process_that_dies_at_the_start_takes_the_others_with_it(tmp_path, model_dir):
    checkout = Checkout(tmp_path, model_dir)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "uploader.log").write_text("a line of an earlier start\n")
    (tmp_path / "uploader.py").write_text("print('reading', flush=True)\nraise SystemExit('it has a reason')\n")
    start = checkout.run("start_local.sh")
    assert start.returncode == 1
    log = tmp_path / "logs" / "uploader.log"
    assert start.stderr.splitlines() == [
        f"The last lines of {log} since this start:",
        "reading",
        "it has a reason",
        "",
        "uploader did not start: it has a reason",
    ]
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
