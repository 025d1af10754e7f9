"""Tasks that an earlier version left in Redis and on disk are finished by this one, and shown as before.

tests/fixtures/65cc1f4/README.md describes the snapshot. The tests look at its tasks before any worker runs, then let an
uploader and a processor work on them, then retry the dead letters.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from redis import Redis

from tests.support import snapshot
from tests.support.audio import read_audio, snr_db
from tests.support.contract import assert_contract_time
from tests.support.http_server import Answer, HttpServer, http_server
from tests.support.make_snapshot import SETTINGS, song
from tests.support.networks import write_model
from tests.support.redis_server import redis_server
from tests.support.service import AUTH, PROCESSES, ROOT, Service

FIXTURE = ROOT / "tests" / "fixtures" / "65cc1f4"
ANSWERS: dict[str, Any] = json.loads((FIXTURE / "answers.json").read_text(encoding="utf-8"))
IDS = {name: answer["task_uuid"] for name, answer in ANSWERS.items()}
DELETED = "0b38f2d9-5c39-4191-ae68-82f7dcf24672"
NOT_AUDIO = "The file is not audio that can be decoded: its format is not known, or its beginning is damaged."
STEMS_LOST = (
    "The finished stems were not on the disk of the node that made them, several times over; whoever runs this service "
    "should see whether its processor and uploader share a disk."
)

# Records keep their dates, so nothing may expire. All receivers are on one host, which must not run into its limit.
QUICK = {
    "WEBHOOK_THREADS": "64",
    "LEASE_SECONDS": "6",
    "HEARTBEAT_SECONDS": "1",
    "RETRY_BASE_SECONDS": "0.1",
    "WEBHOOK_RETRY_SECONDS": "0.2",
    "TASK_RETENTION_HOURS": "0",
    "STEM_RETENTION_HOURS": "0",
    "UPLOAD_RETENTION_HOURS": "1000000",
}


@dataclass
class Upgraded:
    """The old tasks by name, as they were seen at each step."""

    service: Service
    web: HttpServer
    before: dict[str, Any] = field(default_factory=dict)
    replayed: requests.Response | None = None
    letters: list[dict[str, Any]] = field(default_factory=list)
    stored: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)

    def tasks(self) -> dict[str, Any]:
        """All tasks as they are now."""
        return {name: self.service.task(task_uuid) for name, task_uuid in IDS.items()}

    def webhooks(self, name: str) -> list[tuple[str, dict[str, Any]]]:
        """The webhook-id and the payload of each webhook that arrived for a task."""
        requests_ = [request for request in self.web.requests if request.path == f"/hooks/{name}"]
        return [(request.headers["webhook-id"], json.loads(request.body)) for request in requests_]


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    """The snapshot after this version has done all its work."""
    folder = tmp_path_factory.mktemp("upgraded")
    shutil.copytree(FIXTURE / "output", folder / "output")
    for name in ("redis", "models"):
        (folder / name).mkdir()
    write_model(folder / "models" / "half.onnx")
    with http_server() as web, redis_server(folder / "redis") as server:
        for number, name in enumerate(IDS):
            web.answer(f"/{name}.wav", Answer(body=song(number)))
            web.answer(f"/hooks/{name}", Answer(204))
        web.answer("/gone.wav", Answer(body=song(50)))
        with Redis(**server.connection_kwargs, decode_responses=True) as redis:
            snapshot.load(redis, FIXTURE / "redis.json", port=web.port)
        users = str(FIXTURE / "users.htpasswd")
        url = f"unix://{server.unix_socket_path}"
        settings = {**SETTINGS, **QUICK, "BASIC_AUTH_USERS_FILE": users, "KAFKA_TOPIC": "songs"}
        upgraded = Upgraded(Service(folder, url, folder / "models", **settings), web)
        try:
            finish(upgraded)
            yield upgraded
        finally:
            upgraded.service.stop()


def finish(upgraded: Upgraded) -> None:
    """Let this version do all the remaining work, step by step, and keep what it shows."""
    service = upgraded.service
    service.start("app")
    service.wait_until_up("redis")
    upgraded.before = upgraded.tasks()
    upgraded.replayed = send_again(service)
    upgraded.letters = [json.loads(line) for line in dead(service, "list", "--json").splitlines()]
    service.start("uploader")
    stored = ["hook_busy", "hook_leased", "hook_waiting", "storing", "made", "copied"]
    service.eventually(lambda: all(webhook_state(upgraded, name) == "delivered" for name in stored), "all is stored")
    service.eventually(
        lambda: all(upgraded.webhooks(name) for name in ("separating", "ahead", "not_audio")),
        "webhooks",
    )
    upgraded.stored = upgraded.tasks()
    service.start("processor")
    dead(service, "retry", IDS["not_audio"], IDS["hook_buried"])
    for name in ("not_found", "stems_lost"):
        path = f"{service.url}/tasks/{IDS[name]}/retry"
        assert requests.post(path, auth=AUTH, timeout=10).status_code == 202
    service.eventually(lambda: all(is_settled(service.task(task_uuid)) for task_uuid in IDS.values()), "all tasks end")
    upgraded.after = upgraded.tasks()


def send_again(service: Service) -> requests.Response:
    """Repeat the request of `sent_along`."""
    return requests.post(
        f"{service.url}/generate",
        files={"audio": ("under another name.wav", song(99))},
        data={"priority": "2"},
        headers={"Idempotency-Key": "one song, once"},
        auth=AUTH,
        timeout=10,
    )


def dead(service: Service, *arguments: str) -> str:
    command = [sys.executable, "-m", "uvr", "dead", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=service.environment, capture_output=True, text=True, check=True, timeout=30
    ).stdout


def webhook_state(upgraded: Upgraded, name: str) -> str:
    state: str = upgraded.service.task(IDS[name])["webhook"]["state"]
    return state


def is_settled(task: dict[str, Any]) -> bool:
    return task["status"] in ("success", "failed", "cancelled") and task["webhook"]["state"] != "pending"


def plain(task: dict[str, Any], url: str, port: int) -> dict[str, Any]:
    """A task with the snapshot's addresses, and links without expiry and signature."""
    text = json.dumps(task).replace(url, "http://127.0.0.1:8000").replace(f"127.0.0.1:{port}", snapshot.HOST)
    read: dict[str, Any] = json.loads(re.sub(r"\?expires=\d+&signature=[0-9a-f]{64}", "?…", text))
    return read


def as_recorded(name: str) -> dict[str, Any]:
    return plain(ANSWERS[name], "http://127.0.0.1:8000", 4567)


def links(name: str, suffix: str = "wav") -> dict[str, str]:
    files = f"http://127.0.0.1:8000/files/{IDS[name]}"
    return {stem: f"{files}_{stem}.{suffix}?…" for stem in ("instrumental", "vocals")}


FACTS = {
    "model": "half", "provider": "cpu", "backend": "onnxruntime", "precision": "float32", "audio_s": 0.25,
    "sample_rate": 8000, "channels": 1, "output_format": "wav", "gain": 1.0, "notes": [],
}  # fmt: skip
OLD_FACTS = {name: fact for name, fact in FACTS.items() if name != "precision"}
"""Of stems that the old version has made."""


def made(name: str, attempt: int, *tries: tuple[str, int, str], suffix: str = "wav", state: str = "") -> dict[str, Any]:
    """The final state of a task that this version separates. `tries` hold webhook ids without the task's id."""
    stems = links(name, suffix)
    return {
        "status": "success",
        "progress": 1.0,
        "attempt": attempt,
        "position": None,
        "error_message": None,
        **stems,
        "stems": stems,
        "facts": {**FACTS, "output_format": suffix},
        "webhook": {"state": state or ("delivered" if tries else "none"), "tries": list(tries)},
    }


OLD_TRY = (".success", 503, "retry")
DELIVERED = (".success", 204, "delivered")
STORED = {"status": "success", "progress": 1.0}

# What differs from answers.json at the end. Times and durations are checked by type, not by value.
AT_THE_END: dict[str, dict[str, Any]] = {
    "delivered": {},
    "without_hook": {},
    "hook_gone": {},
    "hook_busy": {"webhook": {"state": "delivered", "tries": [OLD_TRY, DELIVERED]}},
    "hook_leased": {"webhook": {"state": "delivered", "tries": [DELIVERED]}},
    "hook_waiting": {"webhook": {"state": "delivered", "tries": [DELIVERED]}},
    "hook_buried": {"webhook": {"state": "delivered", "tries": [DELIVERED]}},
    "not_found": made("not_found", 2, (".failed", 204, "delivered"), (".success.1", 204, "delivered")),
    "not_audio": {
        "attempt": 2,
        "webhook": {
            "state": "delivered",
            "tries": [
                (".failed", 503, "retry"),
                (".failed", 204, "delivered"),
                (".failed.1", 204, "delivered"),
            ],
        },
    },
    "stems_lost": made("stems_lost", 1, (".failed", 204, "delivered"), (".success.1", 204, "delivered")),
    "host_busy": made("host_busy", 2, DELIVERED),
    "storing": made("storing", 1, DELIVERED) | {"facts": OLD_FACTS},
    "made": made("made", 1, DELIVERED) | {"facts": OLD_FACTS},
    "copied": made("copied", 1, DELIVERED) | {"facts": {**OLD_FACTS, "repeated": True}},
    "separating": made("separating", 2, DELIVERED),
    "ahead": made("ahead", 2, DELIVERED),
    "queued_low": made("queued_low", 1, suffix="flac"),
    "queued": made("queued", 1, DELIVERED),
    "queued_high": made("queued_high", 1, DELIVERED),
    "sent_along": made("sent_along", 1),
    "cancelled": {},
}
TIMES = ("fetch_s", "waited_s", "separation_s", "store_s")


@pytest.mark.parametrize("name", IDS)
def test_a_task_is_shown_as_the_old_version_showed_it(upgraded: Upgraded, name: str) -> None:
    now = plain(upgraded.before[name], upgraded.service.url, upgraded.web.port)
    recorded = as_recorded(name)
    assert {key: now[key] for key in recorded} == recorded  # keys may be added, none may be removed


def test_a_deleted_task_stays_unknown(upgraded: Upgraded) -> None:
    answer = requests.get(f"{upgraded.service.url}/tasks/{DELETED}", auth=AUTH, timeout=10)
    assert answer.status_code == 404


def test_all_tasks_are_listed_newest_first(upgraded: Upgraded) -> None:
    url, anna = f"{upgraded.service.url}/tasks?limit=200", ("anna", "anna")
    listed = requests.get(url, auth=AUTH, timeout=10).json()["tasks"]
    assert [task["task_uuid"] for task in listed] == list(reversed(IDS.values()))
    annas = requests.get(url, auth=anna, timeout=10).json()["tasks"]
    assert [task["task_uuid"] for task in annas] == [IDS["queued_low"], IDS["without_hook"]]


def test_a_link_of_the_old_version_still_works(upgraded: Upgraded) -> None:
    old = urlsplit(ANSWERS["delivered"]["vocals"])
    answer = requests.get(f"{upgraded.service.url}{old.path}?{old.query}", timeout=10)
    if answer.status_code == 403:  # the clock is a week ahead of the snapshot
        assert answer.json()["detail"] == "This link has expired; ask for the task again to get a new one."
    else:
        assert answer.content == (FIXTURE / "output" / "stems" / f"{IDS['delivered']}_vocals.wav").read_bytes()


def test_an_idempotency_key_answers_with_its_task(upgraded: Upgraded) -> None:
    assert upgraded.replayed is not None
    assert (upgraded.replayed.status_code, upgraded.replayed.headers["Idempotency-Replayed"]) == (202, "true")
    assert upgraded.replayed.json() == {
        "message": "Task has been queued for processing",
        "status": "queued",
        "task_uuid": IDS["sent_along"],
        "priority": 2,
    }


def test_dead_letters_are_listed_with_their_reasons(upgraded: Upgraded) -> None:
    found = [(letter["queue"], letter["task_uuid"], letter["error_message"]) for letter in upgraded.letters]
    assert sorted(found) == sorted(
        [
            ("tasks", IDS["not_audio"], NOT_AUDIO),
            ("tasks", IDS["not_found"], "The audio could not be fetched: the server answered 404 Not Found."),
            ("results", IDS["stems_lost"], STEMS_LOST),
            ("webhooks", IDS["hook_buried"], ""),
        ]
    )
    assert {(letter["failures"], letter["crashes"]) for letter in upgraded.letters} == {(0, 0)}


@pytest.mark.parametrize("name", IDS)
def test_a_task_ends_as_expected(upgraded: Upgraded, name: str) -> None:
    assert set(AT_THE_END) == set(IDS)
    now = plain(upgraded.after[name], upgraded.service.url, upgraded.web.port)
    expected = as_recorded(name) | AT_THE_END[name]
    for task in (now, expected):
        task["webhook"]["tries"] = [try_of(one, IDS[name]) for one in task["webhook"]["tries"]]
    if now["status"] == "success":
        assert all(isinstance(now["facts"].pop(key), float) for key in TIMES)
        expected["facts"] = {key: value for key, value in expected["facts"].items() if key not in TIMES}
    if AT_THE_END[name]:
        for key in ("started_at", "finished_at"):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", now[key])
            expected[key] = now[key]
    assert {key: now[key] for key in expected} == expected


def try_of(one: Any, task_uuid: str) -> tuple[str, int, str]:
    """A delivery attempt without its time: the rest of the webhook id after the task's id, status code, outcome."""
    if isinstance(one, tuple):
        return one
    assert one["webhook_id"].startswith(task_uuid)
    return one["webhook_id"].removeprefix(task_uuid), one["status_code"], one["outcome"]


@pytest.mark.parametrize("name", [name for name, changes in AT_THE_END.items() if changes.get("stems")])
def test_new_stems_are_those_of_the_song(upgraded: Upgraded, name: str) -> None:
    number = {"not_found": 50, "sent_along": 99, "copied": 0, "made": 13, "storing": 12}.get(name, [*IDS].index(name))
    vocals, instrumental = (fetched(upgraded, name, stem) for stem in ("vocals", "instrumental"))
    mixture = read_audio(song(number))
    assert vocals.shape == instrumental.shape == (1, 2000)
    # All songs are the same sound at different levels: compared with another song, it would be less than 28 dB.
    assert snr_db(mixture, vocals + instrumental) > 30
    assert snr_db(0.525 * mixture, vocals) > 20  # the network halves, the model compensates by 1.05


@pytest.mark.parametrize("name", ["delivered", "hook_busy", "hook_buried", "without_hook"])
def test_stored_stems_are_served_byte_for_byte(upgraded: Upgraded, name: str) -> None:
    for stem in ("vocals", "instrumental"):
        [stored] = (FIXTURE / "output" / "stems").glob(f"{IDS[name]}_{stem}.*")
        answer = requests.get(upgraded.after[name][stem], timeout=10)
        assert (answer.status_code, answer.content) == (200, stored.read_bytes())


def fetched(upgraded: Upgraded, name: str, stem: str) -> Any:
    answer = requests.get(upgraded.after[name][stem], timeout=10)
    assert answer.status_code == 200
    return read_audio(answer.content)


SUCCESS = ["hook_busy", "hook_leased", "hook_waiting", "hook_buried", "storing", "made", "copied", "host_busy",
           "queued_high"]  # fmt: skip


@pytest.mark.parametrize("name", SUCCESS)
def test_a_webhook_announces_success(upgraded: Upgraded, name: str) -> None:
    [(webhook_id, payload)] = upgraded.webhooks(name)
    assert webhook_id == f"{IDS[name]}.success"
    assert_success(upgraded, name, payload)


def assert_success(upgraded: Upgraded, name: str, payload: dict[str, Any]) -> None:
    assert_contract_time(payload)
    assert sorted(payload) == ["instrumental", "status", "task_uuid", "vocals"]
    assert (payload["task_uuid"], payload["status"]) == (IDS[name], "success")
    for stem in ("vocals", "instrumental"):
        assert payload[stem].startswith(f"{upgraded.service.url}/files/{IDS[name]}_{stem}.wav?expires=")
        assert requests.get(payload[stem], timeout=10).status_code == 200


@pytest.mark.parametrize("name", ["separating", "ahead", "queued"])
def test_a_webhook_announces_a_start_that_was_not_announced_yet(upgraded: Upgraded, name: str) -> None:
    payload = [body for _, body in upgraded.webhooks(name)]
    assert [body["status"] for body in payload[-2:]] == ["started", "success"]
    assert_contract_time(payload[0])
    assert sorted(payload[0]) == ["progress", "status", "task_uuid"]
    assert_success(upgraded, name, payload[-1])


def test_a_progress_webhook_of_the_old_version_keeps_its_progress(upgraded: Upgraded) -> None:
    payload = {name: upgraded.webhooks(name)[0][1] for name in ("separating", "ahead")}
    assert {name: (body["status"], body["progress"]) for name, body in payload.items()} == {
        "separating": ("started", 0.02),
        "ahead": ("started", 0.0),
    }


def test_webhooks_announce_failures_and_the_retries_after_them(upgraded: Upgraded) -> None:
    [(first_id, first), (second_id, second)] = upgraded.webhooks("not_audio")
    assert (first_id, second_id) == (f"{IDS['not_audio']}.failed", f"{IDS['not_audio']}.failed.1")
    for payload in (first, second):
        assert_contract_time(payload)
        assert sorted(payload) == ["error_message", "status", "task_uuid"]
        assert (payload["task_uuid"], payload["status"]) == (IDS["not_audio"], "failed")
        assert payload["error_message"] == NOT_AUDIO
    for name in ("not_found", "stems_lost"):
        [(webhook_id, payload)] = upgraded.webhooks(name)
        assert webhook_id == f"{IDS[name]}.success.1"
        assert_success(upgraded, name, payload)


@pytest.mark.parametrize("name", ["delivered", "hook_gone", "cancelled", "without_hook", "sent_along"])
def test_a_webhook_is_not_sent_if_it_was_delivered_or_not_requested(upgraded: Upgraded, name: str) -> None:
    assert upgraded.webhooks(name) == []


def test_the_uploaded_song_is_used_and_deleted(upgraded: Upgraded) -> None:
    uploads = upgraded.service.output_dir / "uploads"
    upgraded.service.eventually(lambda: not list(uploads.glob(f"{IDS['sent_along']}.*")), "the song is deleted")
    assert [path.name.partition(".")[0] for path in uploads.iterdir()] == [IDS["not_audio"]]


@pytest.mark.parametrize("name", PROCESSES)
def test_each_process_names_a_setting_that_is_no_longer_used(upgraded: Upgraded, name: str) -> None:
    lines = upgraded.service.log_lines(name)
    assert [line["variables"] for line in lines if line["event"] == "settings.no_longer_used"] == [["KAFKA_TOPIC"]]


def test_nothing_is_left_to_do(upgraded: Upgraded) -> None:
    pending = upgraded.service.output_dir / "pending"
    upgraded.service.eventually(lambda: not list(pending.iterdir()), "no stems wait to be stored")
    assert [json.loads(line)["task_uuid"] for line in dead(upgraded.service, "list", "--json").splitlines()] == [
        IDS["not_audio"]
    ]
    statuses = [task["status"] for task in upgraded.stored.values()]
    assert (statuses.count("success"), statuses.count("uploading")) == (10, 0)
