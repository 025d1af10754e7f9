"""The webhook secrets of users: made, replaced with an overlap of a day, and removed."""

from __future__ import annotations

import base64

import pytest
from redis import Redis

from uvr.webhooks.user_secrets import OVERLAP_MS, UserSecrets

pytestmark = pytest.mark.every_redis

OF_THE_SERVICE = ""
KEY = "root:webhook_secrets:anna"


@pytest.fixture
def secrets(redis_client: Redis) -> UserSecrets:
    return UserSecrets(redis_client, "root")


def texts(secrets: UserSecrets, user: str = "anna") -> list[str]:
    return [secret.text for secret in secrets.valid(user)]


def let_time_pass(client: Redis, ms: int) -> None:
    """Make all secrets of anna older."""
    for text, made_ms in client.zrange(KEY, 0, -1, withscores=True):
        client.zadd(KEY, {text: made_ms - ms})


def test_a_user_has_none_until_one_is_made(redis_client: Redis, secrets: UserSecrets) -> None:
    assert secrets.valid("anna") == []
    made = secrets.make("anna")
    assert secrets.valid("anna")[0] == made
    assert secrets.valid("bert") == []
    assert len(base64.b64decode(made.text.removeprefix("whsec_"), validate=True)) == 32
    now_s, _ = redis_client.time()
    assert made.made_ms / 1000 == pytest.approx(now_s, abs=60)
    assert made.until_ms is None


def test_the_secret_of_the_service_signs_for_a_day_after_the_first_one(
    redis_client: Redis, secrets: UserSecrets
) -> None:
    first = secrets.make("anna")
    assert texts(secrets) == [first.text, OF_THE_SERVICE]
    assert secrets.valid("anna")[1].until_ms == first.made_ms + OVERLAP_MS
    let_time_pass(redis_client, OVERLAP_MS)
    assert texts(secrets) == [first.text]


def test_a_secret_that_was_replaced_signs_for_a_day(redis_client: Redis, secrets: UserSecrets) -> None:
    old = secrets.make("anna")
    let_time_pass(redis_client, 100 * OVERLAP_MS)
    new = secrets.make("anna")
    assert texts(secrets) == [new.text, old.text]
    assert secrets.valid("anna")[1].until_ms == new.made_ms + OVERLAP_MS
    let_time_pass(redis_client, OVERLAP_MS - 60_000)
    assert texts(secrets) == [new.text, old.text]
    let_time_pass(redis_client, 60_000)
    assert texts(secrets) == [new.text]


def test_a_secret_that_was_made_twice_does_not_end_the_one_that_receivers_know(secrets: UserSecrets) -> None:
    made = [secrets.make("anna").text for _ in range(3)]
    assert texts(secrets) == [*made[::-1], OF_THE_SERVICE]


def test_a_few_are_kept(redis_client: Redis, secrets: UserSecrets) -> None:
    made = [secrets.make("anna").text for _ in range(10)]
    assert texts(secrets) == made[:-5:-1]
    assert redis_client.zcard(KEY) == 4


def test_the_newest_is_the_current_one_even_if_the_clock_was_set_back(
    redis_client: Redis, secrets: UserSecrets
) -> None:
    secrets.make("anna")
    let_time_pass(redis_client, -3_600_000)
    new = secrets.make("anna")
    assert texts(secrets)[0] == new.text


def test_removing_ends_all_of_them_at_once(redis_client: Redis, secrets: UserSecrets) -> None:
    for _ in range(2):
        secrets.make("anna")
    other = secrets.make("bert")
    secrets.remove("anna")
    secrets.remove("anna")
    assert secrets.valid("anna") == []
    assert secrets.valid("bert")[0] == other
    assert not redis_client.exists(KEY)


def test_neither_the_log_nor_an_error_shows_a_secret(secrets: UserSecrets) -> None:
    made = secrets.make("anna")
    assert made.text not in repr(made)
    assert len(made.fingerprint) == 12
    assert made.fingerprint not in made.text
