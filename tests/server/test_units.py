"""The units in deploy/systemd: systemd accepts them, and each process runs as its unit starts it.

There is no systemd in a container, so a test takes its part: it starts the command of the unit in its folder with the
environment of the unit and nothing else, on a file system that is read-only but for the folder in StateDirectory, and
stops it as KillMode=mixed does.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from config import Settings
from tests.support.audio import encoded, noise
from tests.support.checkout import Checkout
from tests.support.documentation import blocks
from tests.support.networks import write_model
from tests.support.ports import free_ports
from tests.support.service import ROOT
from tests.support.waiting import PATIENCE_S, eventually

UNITS = ROOT / "deploy" / "systemd"
SERVICES = ("uvr-api", "uvr-uploader", "uvr-processor@")
CODE, STATE, ENV_FILE = "/opt/uvr-api", "/var/lib/uvr-api", "/etc/uvr-api.env"
READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro / && shift && exec "$@"'
DENY_WRITE_EXECUTE = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)  # PR_SET_MDWE, which kernels before 6.3 do not know
os.execv(sys.argv[1], sys.argv[1:])
"""
WITHOUT_PRIVILEGES = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]


def unit(name: str) -> dict[str, list[str]]:
    """The lines of a unit and of what all units share: name -> values."""
    found: dict[str, list[str]] = {}
    for file in (UNITS / "uvr-.service.d" / "common.conf", UNITS / f"{name}.service"):
        for key, value in re.findall(r"^(\w+)=(.*)$", file.read_text(encoding="utf-8"), re.MULTILINE):
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("name", SERVICES)
def test_systemd_accepts_the_unit_and_finds_it_well_protected(tmp_path: Path, name: str) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze: make test-server installs it where it may")
    shutil.copytree(UNITS, tmp_path, dirs_exist_ok=True)
    for file in tmp_path.rglob("*.service"):
        file.write_text(file.read_text().replace(f"{CODE}/.venv/bin/python", sys.executable))
    started = f"{name}1.service" if name.endswith("@") else f"{name}.service"
    verified = systemd_analyze(tmp_path, "verify", "--man=no", f"./{started}", "./uvr.target")
    assert (verified.returncode, verified.stderr) == (0, "")
    if name.endswith("@"):  # without a manager, systemd looks at files only
        (tmp_path / started).symlink_to(f"{name}.service")
    secure = systemd_analyze(tmp_path, "security", "--offline=true", "--threshold=20", f"./{started}")
    assert secure.returncode == 0, secure.stdout  # exposure of at most 2.0 of 10


def systemd_analyze(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", SERVICES)
def test_systemd_waits_longer_than_the_process_needs_to_stop(name: str) -> None:
    lines = unit(name)
    assert lines["KillMode"] == ["mixed"]
    assert lines["Restart"] == ["always"]
    grace_s = Settings.model_fields["shutdown_grace_seconds"].default
    assert float(lines["TimeoutStopSec"][0]) >= grace_s + 10


@dataclass(frozen=True)
class Machine:
    """What stands for /opt/uvr-api, /var/lib/uvr-api and /etc/uvr-api.env, and where the API listens."""

    code: Path
    state: Path
    env_file: Path
    url: str

    def in_place(self, text: str) -> str:
        for path, own in {CODE: self.code, STATE: self.state, ENV_FILE: self.env_file}.items():
            text = text.replace(path, str(own))
        return text


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The code, a state folder with a model, a Redis with the configuration of the page, and its settings."""
    folder = tmp_path_factory.mktemp("machine")
    code = Checkout(folder / "code", folder).folder
    (code / ".venv").symlink_to(sys.prefix)
    state, redis_dir = folder / "state", folder / "redis"
    for path in (state, state / "models", state / "tmp", redis_dir):
        path.mkdir()
    write_model(state / "models" / "half.onnx")
    port, redis_port = free_ports(2)
    machine = Machine(code, state, folder / "uvr-api.env", f"http://127.0.0.1:{port}")
    own = {"MODEL_NAME": "half", "API_PORT": str(port), "REDIS_PORT": str(redis_port), "ALLOWED_PRIVATE_NETWORKS": ""}
    values = {**settings_on_the_page(), **own, "BASIC_AUTH_USERS_FILE": ""}
    lines = "".join(f"{name}={value}\n" for name, value in values.items())
    machine.env_file.write_text(machine.in_place(lines), encoding="utf-8")
    with redis_as_configured(redis_dir, redis_port, values["REDIS_PASSWORD"]):
        yield machine


def settings_on_the_page() -> dict[str, str]:
    """The settings that docs/server.md gives, with passwords."""
    [block] = [block for block in blocks("sh") if block.page == "docs/server.md" and "<<SETTINGS" in block.text]
    values = dict(re.findall(r"^([A-Z_]+)=(.*)$", block.text, re.MULTILINE))
    values = {name: value.replace("$NAME", "stems.example.com") for name, value in values.items() if "$(" not in value}
    return {**values, "BASIC_AUTH_PASSWORD": "a password for tests", "REDIS_PASSWORD": "another one"}


@contextmanager
def redis_as_configured(folder: Path, port: int, password: str) -> Iterator[None]:
    """A Redis with deploy/redis/uvr.conf."""
    from scripts.local.redis_server import program

    configuration = (ROOT / "deploy" / "redis" / "uvr.conf").read_text(encoding="utf-8")
    more = f"port {port}\nbind 127.0.0.1\ndir {folder}\nrequirepass {shlex.quote(password)}\n"
    (folder / "redis.conf").write_text(configuration + more, encoding="utf-8")
    process = subprocess.Popen([program(), folder / "redis.conf"], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def started(machine: Machine, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """The process of a unit, started as systemd would start it."""
    lines = unit(name)
    [command] = lines["ExecStart"]
    environment = dict(line.split("=", 1) for line in map(machine.in_place, lines["Environment"]))
    environment |= {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": str(machine.state)}
    environment |= {"TMPDIR": str(machine.state / "tmp")}  # in the place of PrivateTmp
    is_denied = lines.get("MemoryDenyWriteExecute") == ["yes"]
    deny = [sys.executable, "-c", DENY_WRITE_EXECUTE] if is_denied else []
    with (machine.state / "tmp" / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [*read_only_but(machine.state), *deny, *shlex.split(machine.in_place(command))],
            cwd=machine.in_place(lines["WorkingDirectory"][0]),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def read_only_but(folder: Path) -> list[str]:
    """The beginning of a command that can write to `folder` only; empty without the right to mount."""
    begin = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", str(folder), *WITHOUT_PRIVILEGES]
    is_possible = os.getuid() == 0 and all(map(shutil.which, ("unshare", "setpriv")))
    return begin if is_possible and subprocess.run([*begin, "true"], check=False).returncode == 0 else []


def test_the_service_runs_and_stops_as_its_units_say(machine: Machine) -> None:
    auth = ("admin", "a password for tests")
    with ExitStack() as running:
        processes = {name: running.enter_context(started(machine, name)) for name in SERVICES}

        def parts_up() -> bool:
            for name, process in processes.items():
                log = (machine.state / "tmp" / f"{name}.log").read_text(errors="replace")
                assert process.poll() is None, log
            try:
                parts = requests.get(f"{machine.url}/health", timeout=PATIENCE_S).json()["components"]
            except requests.RequestException:
                return False
            return {parts[name] if isinstance(parts[name], str) else parts[name]["status"] for name in parts} == {"up"}

        eventually(parts_up, "all parts are up", every_s=0.2)
        song = encoded(noise(0.3), ".wav", codec="pcm_s16le")
        sent = requests.post(f"{machine.url}/generate", files={"audio": ("a.wav", song)}, auth=auth, timeout=PATIENCE_S)
        path = f"{machine.url}/tasks/{sent.json()['task_uuid']}"
        task = eventually(
            lambda: (now := requests.get(path, auth=auth, timeout=PATIENCE_S).json())["status"] == "success" and now,
            "the song is separated",
            every_s=0.2,
        )
        assert task["vocals"].startswith("https://stems.example.com/files/")
        for process in processes.values():
            process.terminate()
        assert [process.wait(60) for process in processes.values()] == [0, 0, 0]
