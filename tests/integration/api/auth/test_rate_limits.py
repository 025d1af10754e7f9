"""Rate limits: requests per minute, waiting tasks, and failed logins from one address."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from redis import Redis

from tests.support.api import CREDENTIALS, USER, application, credentials, htpasswd, services_of, settings_for
from tests.support.leases import claim, snapshot

SONG = {"audio": "https://songs.example.com/a.mp3"}
ANNA, BERT = credentials("anna"), credentials("bert")


@contextmanager
def api(redis: Redis, folder: Path, **settings: Any) -> Iterator[FlaskClient]:
    users = folder / "users"
    users.write_text(htpasswd("anna", "bert"))
    values = {"basic_auth_users_file": users, **settings}
    with application(settings_for(redis.get_connection_kwargs(), folder, **values)) as app:
        yield app.test_client()


def statuses(client: FlaskClient, times: int, auth: tuple[str, str], **options: Any) -> list[int]:
    return [client.get("/tasks", auth=auth, **options).status_code for _ in range(times)]


def wait_s(answer: Any) -> int:
    assert answer.status_code == 429
    assert answer.content_type == "application/problem+json"
    return int(answer.headers["Retry-After"])


def test_requests_per_minute_are_counted_for_each_user(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path, requests_per_minute=3) as client:
        assert statuses(client, 4, ANNA) == [200, 200, 200, 429]
        assert 15 <= wait_s(client.get("/tasks", auth=ANNA)) <= 20
        assert statuses(client, 3, BERT) == [200, 200, 200]
        assert client.get("/health").status_code == 200


def test_allowance_comes_back_evenly(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path, requests_per_minute=3) as client:
        statuses(client, 4, ANNA)
        used_up_until = float(redis_client.get("uvr_tasks:rate:anna"))
        redis_client.set("uvr_tasks:rate:anna", used_up_until - 20_000)  # as if so much time had passed
        assert statuses(client, 2, ANNA) == [200, 429]


def test_requests_with_a_wrong_password_do_not_count(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path, requests_per_minute=2) as client:
        assert statuses(client, 3, ("anna", "wrong")) == [401, 401, 401]
        assert statuses(client, 2, ANNA) == [200, 200]


def test_concurrent_requests_are_all_counted(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path, requests_per_minute=20) as client, ThreadPoolExecutor(8) as pool:
        app = client.application
        answers = list(pool.map(lambda _: app.test_client().get("/tasks", auth=CREDENTIALS).status_code, range(60)))
    assert answers.count(200) in (20, 21)  # on a slow machine, one comes back meanwhile
    assert set(answers) == {200, 429}


def test_waiting_tasks_are_counted_for_each_user(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path, max_waiting_tasks_per_user=2) as client:
        answers = [client.post("/generate", json=SONG, auth=ANNA) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert wait_s(answers[2]) > 0
        assert "2 tasks waiting" in answers[2].json["detail"]
        assert client.post("/generate", json=SONG, auth=BERT).status_code == 202
        assert redis_client.zcard("uvr_tasks") == redis_client.zcard("uvr_tasks:tasks") == 3
        lease = services_of(client.application).broker.tasks.claim()
        assert lease
        services_of(client.application).broker.tasks.extend(lease, {"status": "processing"})
        assert client.post("/generate", json=SONG, auth=ANNA).status_code == 202


def test_tasks_submitted_concurrently_do_not_exceed_the_limit(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path, max_waiting_tasks_per_user=5) as client, ThreadPoolExecutor(8) as pool:
        app = client.application
        submit = lambda _: app.test_client().post("/generate", json=SONG, auth=CREDENTIALS).status_code  # noqa: E731
        answers = list(pool.map(submit, range(40)))
    assert sorted(answers) == [202] * 5 + [429] * 35


def test_retries_count_like_new_tasks(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path, max_waiting_tasks_per_user=2) as client:
        first, second = (client.post("/generate", json=SONG, auth=ANNA).json["task_uuid"] for _ in range(2))
        assert client.post(f"/tasks/{first}/cancel", auth=ANNA).status_code == 200
        tasks = services_of(client.application).broker.tasks
        tasks.bury(claim(tasks), record={"status": "failed"})
        for _ in range(2):
            client.post("/generate", json=SONG, auth=ANNA)
        before = snapshot(redis_client)
        for task_uuid in (first, second):
            assert wait_s(client.post(f"/tasks/{task_uuid}/retry", auth=ANNA)) > 0
        assert snapshot(redis_client) == before
        assert tasks.finish(claim(tasks), record={"status": "success"})
        assert client.post(f"/tasks/{first}/retry", auth=ANNA).status_code == 202


def test_the_limits_have_defaults_with_a_users_file_only(redis_client: Redis, tmp_path: Path) -> None:
    users = tmp_path / "users"
    where = redis_client.get_connection_kwargs()
    alone = settings_for(where, tmp_path)
    assert (alone.waiting_tasks_limit, alone.upload_bytes_limit) == (0, 0)
    together = settings_for(where, tmp_path, basic_auth_users_file=users)
    assert (together.waiting_tasks_limit, together.upload_bytes_limit) == (1000, 5 * 2**30)
    unlimited = settings_for(
        where, tmp_path, basic_auth_users_file=users, max_waiting_tasks_per_user=0, max_upload_bytes_per_user=0
    )
    assert (unlimited.waiting_tasks_limit, unlimited.upload_bytes_limit) == (0, 0)


def test_bytes_of_uploads_are_counted_for_each_user(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path, max_upload_bytes_per_user=2000) as client:
        uploaded = [upload(client, ANNA, 1000) for _ in range(2)]
        refused = upload(client, ANNA, 1000)
        assert wait_s(refused) > 0
        assert "delete tasks" in refused.json["detail"]
        assert [path for path in (tmp_path / "output" / "uploads").iterdir() if path.name.startswith(".")] == []
        assert upload(client, BERT, 5000).status_code == 202, "a user with no upload may always store one"
        assert client.delete(f"/tasks/{uploaded[0].json['task_uuid']}", auth=ANNA).status_code == 204
        assert upload(client, ANNA, 1000).status_code == 202
        assert redis_client.hgetall("uvr_tasks:uploads:bytes") == {"anna": "2000", "bert": "5000"}


def test_an_upload_beyond_the_limit_is_refused_before_it_is_sent(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path, max_upload_bytes_per_user=2000) as client:
        assert upload(client, ANNA, 1000).status_code == 202
        unread = {"CONTENT_TYPE": "multipart/form-data; boundary=b", "CONTENT_LENGTH": str(3 * 2**20)}
        refused = client.post("/generate", auth=ANNA, input_stream=io.BytesIO(), environ_overrides=unread)
        assert wait_s(refused) > 0


def test_bytes_of_uploads_that_an_older_version_deleted_count_no_more(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path, max_upload_bytes_per_user=1000) as client:
        assert upload(client, ANNA, 1000).status_code == 202
        redis_client.delete("uvr_tasks:uploads")
        uploads = services_of(client.application).broker.uploads
        assert uploads.bytes_of("anna") == 1000
        uploads.forget_removed()
        assert uploads.bytes_of("anna") == 0
        assert not redis_client.exists("uvr_tasks:uploads:bytes", "uvr_tasks:uploads:sizes")


def upload(client: FlaskClient, auth: tuple[str, str], size_bytes: int) -> Any:
    return client.post("/generate", data={"audio": (io.BytesIO(bytes(size_bytes)), "song.wav")}, auth=auth)


def test_failed_logins_are_slowed_down(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path) as client:
        assert statuses(client, 5, ("anna", "wrong")) == [401] * 5
        refused = client.get("/tasks", auth=ANNA)
        assert wait_s(refused) == 1
        assert "WWW-Authenticate" not in refused.headers
        time.sleep(1.1)
        assert statuses(client, 1, ("anna", "wrong")) == [401]
        assert wait_s(client.get("/tasks", auth=ANNA)) == 2


def test_right_password_is_accepted_after_the_wait(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path) as client:
        statuses(client, 5, ("anna", "wrong"))
        time.sleep(1.1)
        assert statuses(client, 3, ANNA) == [200] * 3


def test_failed_logins_are_slowed_down_in_all_processes(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path) as one, api(redis_client, tmp_path) as other:
        assert statuses(one, 1, ANNA) == [200]
        assert statuses(other, 5, ("anna", "wrong")) == [401] * 5
        assert statuses(one, 1, ("anna", "wrong")) == [429]
        assert statuses(one, 1, ANNA) == [429], "although this process remembers her password"


def test_a_user_at_another_address_is_not_slowed_down(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path) as client:
        here, there = {"REMOTE_ADDR": "192.0.2.1"}, {"REMOTE_ADDR": "192.0.2.2"}
        assert statuses(client, 6, ("anna", "wrong"), environ_base=here) == [401] * 5 + [429]
        assert statuses(client, 1, ANNA, environ_base=here) == [429]
        assert statuses(client, 1, ANNA, environ_base=there) == [200]
        assert statuses(client, 1, BERT, environ_base=here) == [200]


def test_failures_of_one_name_are_few_even_at_the_same_time(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path) as client, ThreadPoolExecutor(16) as pool:
        app = client.application
        answers = list(
            pool.map(lambda n: app.test_client().get("/tasks", auth=(USER, f"guess {n}")).status_code, range(32))
        )
    assert answers.count(401) <= 5
    assert set(answers) == {401, 429}


def test_right_password_costs_nothing(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path) as client:
        assert statuses(client, 4, ("anna", "wrong")) == [401] * 4
        assert statuses(client, 3, ANNA) == [200] * 3
        assert statuses(client, 2, ("anna", "wrong")) == [401, 429]


def test_a_check_that_is_not_made_costs_nothing(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path) as client:
        checks = services_of(client.application).users._checks
        with checks.one(is_known=True), checks.one(is_known=True):
            refused = client.get("/tasks", auth=ANNA)
            assert wait_s(refused) == 1
            assert "being checked" in refused.json["detail"]
            assert statuses(client, 8, ("anna", "wrong")) == [429] * 8
            assert statuses(client, 1, CREDENTIALS) == [200]
        assert redis_client.keys("uvr_tasks:failed:*") == redis_client.keys("uvr_tasks:unknown:*") == []
        assert statuses(client, 1, ANNA) == [200]


def test_an_address_has_few_failures_for_names_that_are_not_known_there(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path) as client:
        here, there = {"environ_base": {"REMOTE_ADDR": "192.0.2.1"}}, {"environ_base": {"REMOTE_ADDR": "192.0.2.2"}}
        assert statuses(client, 1, ANNA, **here) == statuses(client, 1, CREDENTIALS, **here) == [200]
        assert [statuses(client, 1, (f"name {n}", "x"), **here)[0] for n in range(21)] == [401] * 20 + [429]
        refused = client.get("/tasks", auth=BERT, **here)
        assert 1 <= wait_s(refused) <= 30
        assert "from your address" in refused.json["detail"]
        assert statuses(client, 2, ANNA, **here) == statuses(client, 2, CREDENTIALS, **here) == [200, 200]
        assert statuses(client, 1, BERT, **there) == [200]
        assert statuses(client, 6, ("anna", "wrong"), **here) == [401] * 5 + [429], "a known name has its own count"


def test_an_address_gets_its_failures_back_one_by_one(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path) as client:
        for number in range(21):
            statuses(client, 1, (f"name {number}", "x"))
        [key] = redis_client.keys("uvr_tasks:unknown:*")
        redis_client.set(key, float(redis_client.get(key)) - 30_000)  # as if so much time had passed
        assert statuses(client, 1, BERT) == [200], "a right password costs nothing"
        assert [statuses(client, 1, (f"other {number}", "x"))[0] for number in range(2)] == [401, 429]


def test_the_last_addresses_of_a_name_are_known_for_a_month(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path) as client:
        for number in range(102):
            statuses(client, 1, ANNA, environ_base={"REMOTE_ADDR": f"192.0.2.{number}"})
        [key] = redis_client.keys("uvr_tasks:known:*")
        assert redis_client.zcard(key) == 100
        limits = services_of(client.application).login_limits
        assert limits.begin("192.0.2.101", "anna").is_known
        for address in redis_client.zrange(key, 0, -1):
            redis_client.zincrby(key, -31 * 86_400_000, address)
        assert not limits.begin("192.0.2.101", "anna").is_known
        assert statuses(client, 1, ANNA, environ_base={"REMOTE_ADDR": "192.0.2.101"}) == [200]
        assert limits.begin("192.0.2.101", "anna").is_known


def test_recognized_users_need_no_redis_that_accepts_writes(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path) as client:
        assert statuses(client, 1, ANNA) == [200]
        redis_client.config_set("min-replicas-to-write", 1)  # refuses every write
        try:
            assert statuses(client, 1, ANNA) == [200]
            assert statuses(client, 1, CREDENTIALS) == [200]
            assert statuses(client, 1, BERT) == [503]
        finally:
            redis_client.config_set("min-replicas-to-write", 0)


def test_admin_is_slowed_down_too(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path) as client:
        assert statuses(client, 6, (USER, "wrong")) == [401] * 5 + [429]


def test_requests_without_credentials_are_not_failed_logins(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path) as client:
        assert {client.get("/tasks").status_code for _ in range(8)} == {401}
        assert redis_client.keys("uvr_tasks:failed:*") == []


def test_addresses_of_one_ipv6_network_count_as_one(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path) as client:
        for number in range(5):
            statuses(client, 1, ("anna", "wrong"), environ_base={"REMOTE_ADDR": f"2001:db8::{number}:1"})
        assert statuses(client, 1, ANNA, environ_base={"REMOTE_ADDR": "2001:db8::ffff"}) == [429]
        assert statuses(client, 1, ANNA, environ_base={"REMOTE_ADDR": "2001:db8:0:1::1"}) == [200]


def test_address_behind_a_trusted_proxy_is_the_clients(redis_client: Redis, tmp_path: Path) -> None:
    proxies = [ip_network("10.0.0.0/8")]
    with api(redis_client, tmp_path, trusted_proxies=proxies) as client:
        proxy = {"environ_base": {"REMOTE_ADDR": "10.0.0.1"}}
        one = {"headers": {"X-Forwarded-For": "198.51.100.9, 192.0.2.1, 10.0.0.2"}, **proxy}
        same = {"headers": {"X-Forwarded-For": "203.0.113.5, 192.0.2.1"}, **proxy}
        other = {"headers": {"X-Forwarded-For": "192.0.2.2"}, **proxy}
        assert statuses(client, 6, ("anna", "wrong"), **one)[-1] == 429
        assert statuses(client, 1, ANNA, **same) == [429]
        assert statuses(client, 1, ANNA, **other) == [200]


def test_forwarded_address_from_an_untrusted_client_is_ignored(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path) as client:
        claims = [{"headers": {"X-Forwarded-For": f"192.0.2.{number}"}} for number in range(6)]
        answers = [statuses(client, 1, ("anna", "wrong"), **claim) for claim in claims]
        assert answers[-1] == [429]


def test_keys_of_the_limits_expire(redis_client: Redis, tmp_path: Path) -> None:
    with api(redis_client, tmp_path, requests_per_minute=10) as client:
        statuses(client, 6, ("anna", "wrong"))
        statuses(client, 1, BERT)
        keys = {kind: redis_client.keys(f"uvr_tasks:{kind}:*") for kind in ("failed", "rate", "unknown", "known")}
        assert {kind: len(names) for kind, names in keys.items()} == {"failed": 2, "rate": 1, "unknown": 1, "known": 1}
        assert all(0 < redis_client.ttl(key) <= 900 for kind in ("failed", "rate", "unknown") for key in keys[kind])
        assert 0 < redis_client.ttl(keys["known"][0]) <= 30 * 86400
        assert "anna" not in str([keys[kind] for kind in ("failed", "unknown", "known")])
