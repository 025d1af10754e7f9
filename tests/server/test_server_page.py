"""The commands of docs/server.md and its Chinese twin, run in their order, as printed, below another root.

Redis, OpenSSL, the archive, the settings, `uvr`, backup and restore are real. What belongs to the system (apt, useradd,
systemctl, certbot, ufw) only records how it was called, but systemctl does start and stop the Redis.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis

from tests.support.checkout import Checkout
from tests.support.documentation import blocks
from tests.support.ports import free_ports

PAGES = ["docs/server.md", "docs/server.zh-CN.md"]
DOCUMENTED_BACKUP = "uvr-2026-11-28T19-05-01Z.tar"
RECORDED = ("apt-get", "useradd", "certbot", "ufw", "nginx", "journalctl", "curl")
FOLDERS = (
    "opt", "var/lib/redis", "etc/redis", "etc/caddy", "etc/nginx/sites-available", "etc/nginx/sites-enabled",
    "etc/systemd/system", "etc/apt/sources.list.d", "etc/default", "usr/local/bin",
)  # fmt: skip
PROGRAMS = {
    "systemctl": """
case " $* " in
  *" stop "*" redis-server "*) redis-cli -p "$REDIS_PORT" -a "$REDIS_PASSWORD" --no-auth-warning shutdown ;;
  *" restart redis-server "*|*" start redis-server "*)
    redis-server "$ROOT/etc/redis/redis.conf"
    until redis-cli -p "$REDIS_PORT" -a "$REDIS_PASSWORD" --no-auth-warning ping | grep -q PONG; do sleep 0.05; done ;;
esac""",
    "make": 'ln -sfn "$VENV_OF_TEST" "$2/.venv"',
    "runuser": 'shift 3; exec "$@"',
    "install": """
arguments=()
while [ $# -gt 0 ]; do
  case $1 in -o|-g) shift 2 ;; *) arguments+=("$1"); shift ;; esac
done
/usr/bin/install "${arguments[@]}"
case ${arguments[-1]} in */bin/uvr) sed -i "s,/opt/,$ROOT/opt/,; s,/etc/,$ROOT/etc/," "${arguments[-1]}" ;; esac""",
}


@dataclass(frozen=True)
class Walk:
    """What the commands of a page have left, printed and called."""

    root: Path
    printed: str
    calls: list[str]
    redis: dict[str, str]


def script_of(page: str, root: Path) -> str:
    """All commands of a page, with paths below `root`, and with a mark in Redis just before the backup."""
    parts = []
    for block in blocks("sh"):
        if block.page == page:
            mark = 'redis-cli -p "$REDIS_PORT" -a "$REDIS_PASSWORD" --no-auth-warning set mark before >/dev/null\n'
            parts.append((mark if "backup.sh" in block.text else "") + block.text)
    text = "".join(parts).replace("NAME=stems.example.com", "NAME=music.example.net")
    text = text.replace(DOCUMENTED_BACKUP, '$(cd "$ROOT/var/backups/uvr-api" && ls)')
    text = re.sub(r"(?<![\w.])/(opt|etc|var|usr/local)(?=[/\s])", rf"{root}/\1", text)
    assert not re.search(r"(?<![\w.}])/(opt|etc|var)\b", text.replace(str(root), "ROOT")), "a path leads outside"
    return text


@pytest.fixture(scope="module", params=PAGES)
def walk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Walk:
    for program in ("redis-server", "redis-cli", "openssl"):
        if not shutil.which(program):
            pytest.skip(f"needs {program}: make test-server installs it where it may")
    folder = tmp_path_factory.mktemp("server")
    root, home = folder / "root", folder / "home"
    for name in FOLDERS:
        (root / name).mkdir(parents=True)
    (root / "etc/apt/sources.list.d/debian.sources").write_text("URIs: http://deb.debian.org/debian\n")
    redis_port, api_port = free_ports(2)
    own = f"port {redis_port}\nbind 127.0.0.1\ndir {root}/var/lib/redis\ndaemonize yes\npidfile {root}/redis.pid\n"
    (root / "etc/redis/redis.conf").write_text(own)
    script = script_of(request.param, root)
    [version] = set(re.findall(r"VERSION=([\d.]+)", script))
    environment = make_archive(home, version) | {
        "PATH": f"{make_programs(folder)}:{root}/usr/local/bin:/usr/bin:/bin",
        "ROOT": str(root),
        "VENV_OF_TEST": sys.prefix,
        "REDIS_PORT": str(redis_port),
        "API_PORT": str(api_port),
    }
    command = ["bash", "-euo", "pipefail", "-c", script]
    try:
        done = subprocess.run(
            command, cwd=home, env=environment, capture_output=True, text=True, check=False, timeout=200
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        password = re.findall(r"^requirepass (\w+)$", (root / "etc/redis/uvr.conf").read_text(), re.MULTILINE)[0]
        with Redis(port=redis_port, password=password, decode_responses=True) as redis:
            found = {"mark": redis.get("mark"), **redis.config_get("append*")}
            redis.shutdown(nosave=True)
    finally:
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended properly
            os.kill(int((root / "redis.pid").read_text()), signal.SIGKILL)
    calls = (folder / "calls").read_text().splitlines()
    return Walk(root, done.stdout, calls, found)


def make_archive(home: Path, version: str) -> dict[str, str]:
    """The archive of this code in the folder where the commands run. Returns the environment of a shell."""
    code = home / f"uvr-api-{version}"
    environment = Checkout(code, home).environment
    with tarfile.open(home / f"uvr-api-{version}.tar.gz", "w:gz", compresslevel=1) as archive:
        archive.add(code, arcname=code.name)
    shutil.rmtree(code)
    return {name: environment[name] for name in ("HOME", "LANG") if name in environment}


def make_programs(folder: Path) -> Path:
    """Programs that record their calls in `folder`/calls, and those in PROGRAMS, which do something too."""
    programs = folder / "programs"
    programs.mkdir()
    for name in (*RECORDED, *PROGRAMS):
        record = f'echo "{name} $*" >> "{folder}/calls"'
        (programs / name).write_text(f"#!/bin/bash\nset -eu\n{record}\n{PROGRAMS.get(name, '')}\n")
        (programs / name).chmod(0o755)
    return programs


def test_the_settings_are_those_of_the_name_and_readable_by_the_service_only(walk: Walk) -> None:
    file = walk.root / "etc" / "uvr-api.env"
    text = file.read_text()
    assert "PUBLIC_BASE_URL=https://music.example.net\n" in text
    assert re.search(r"^BASIC_AUTH_PASSWORD=[0-9a-f]{32}$", text, re.MULTILINE)
    assert re.search(r"^WEBHOOK_SECRET=whsec_[\w+/]{43}=$", text, re.MULTILINE)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_the_doctor_finds_no_fault(walk: Walk) -> None:
    assert walk.printed.count("ok    settings") >= 2  # after the settings, and before the upgrade
    assert "FAULT" not in walk.printed


def test_the_proxies_serve_the_name(walk: Walk) -> None:
    for name in ("etc/caddy/Caddyfile", "etc/nginx/sites-enabled/uvr-api"):
        text = (walk.root / name).read_text()
        assert "music.example.net" in text
        assert "stems.example.com" not in text
    assert "certbot certonly --nginx --domain music.example.net --deploy-hook systemctl reload nginx" in walk.calls


def test_the_units_are_installed_and_started(walk: Walk) -> None:
    units = {path.name for path in (walk.root / "etc/systemd/system").iterdir()}
    assert {"uvr.target", "uvr-api.service", "uvr-uploader.service", "uvr-processor@.service"} <= units
    assert (walk.root / "etc/systemd/system/uvr-.service.d/common.conf").is_file()
    assert "systemctl enable --now uvr.target uvr-api uvr-uploader uvr-processor@1" in walk.calls


def test_a_user_has_a_password_and_a_token(walk: Walk) -> None:
    assert re.search(r"^uvr_\w{20,}", walk.printed, re.MULTILINE)
    assert "anna:$2b$" in (walk.root / "var/lib/uvr-api/users.htpasswd").read_text()


def test_redis_has_what_the_backup_saved_and_is_durable(walk: Walk) -> None:
    assert walk.redis["mark"] == "before"
    assert (walk.redis["appendonly"], walk.redis["appendfsync"]) == ("yes", "always")


def test_the_chinese_page_uses_mirrors(walk: Walk, request: pytest.FixtureRequest) -> None:
    sources = (walk.root / "etc/apt/sources.list.d/debian.sources").read_text()
    is_chinese = "server.zh-CN.md" in request.node.name
    assert ("mirrors.tuna.tsinghua.edu.cn/debian" in sources) == is_chinese
    assert (walk.root / "etc/default/uvr-api").exists() == is_chinese


def test_both_pages_have_the_same_commands() -> None:
    english, chinese = ([block.text for block in blocks("sh") if block.page == page] for page in PAGES)
    assert [block for block in english if block not in chinese] == []
    only_chinese = [block for block in chinese if block not in english]
    assert ["mirrors.tuna" in only_chinese[0], "hf-mirror" in only_chinese[1]] == [True, True]
    assert len(only_chinese) == 2


def test_every_variable_that_the_pages_set_is_a_setting() -> None:
    """`uvr doctor` reports others; those of a proxy or of pip are for /etc/default/uvr-api."""
    from config import Settings

    for page in PAGES:
        text = "".join(block.text for block in blocks("sh") if block.page == page)
        heredoc = text.partition("<<SETTINGS\n")[2].partition("SETTINGS\n")[0]
        added = re.findall(r'echo "([A-Z_]+)=[^"]*" >> /etc/uvr-api.env', text)
        names = [*re.findall(r"^([A-Z_]+)=", heredoc, re.MULTILINE), *added]
        assert {name.lower() for name in names} <= set(Settings.model_fields)
        assert len(names) > 8
