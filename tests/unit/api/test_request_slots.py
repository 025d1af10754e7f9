"""How many long requests a process accepts, of each kind, of each user and in total."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from uvr.api.request_slots import EventStreams, LongRequests, OpenStreams, Slot

OWN_SHARE, ALL_TAKEN = HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE


def begun(requests: LongRequests, kind: str, user: str, times: int) -> list[HTTPStatus | None]:
    return [requests.begin(kind, user) for _ in range(times)]


def test_one_user_gets_half_of_the_slots_of_a_kind_and_the_next_user_the_rest() -> None:
    requests = LongRequests(8, has_users=True)
    assert begun(requests, "upload", "mallory", 3) == [None, None, OWN_SHARE]
    assert begun(requests, "upload", "anna", 2) == [None, None]
    assert begun(requests, "upload", "ben", 1) == [ALL_TAKEN]


def test_the_only_user_may_have_all_slots() -> None:
    assert begun(LongRequests(8, has_users=False), "upload", "admin", 5) == [None] * 4 + [ALL_TAKEN]


@pytest.mark.parametrize("threads", range(1, 33))
def test_both_kinds_together_leave_a_thread_for_short_requests(threads: int) -> None:
    requests = LongRequests(threads, has_users=False)
    answers = [requests.begin(kind, f"user {number}") for number in range(threads) for kind in ("upload", "stream")]
    accepted = answers.count(None)
    assert accepted <= max(1, threads - 1)
    assert accepted >= min(threads, max(1, threads // 2))


@pytest.mark.parametrize("threads", range(1, 33))
def test_each_user_gets_a_slot_of_each_kind_while_there_is_one(threads: int) -> None:
    requests = LongRequests(threads, has_users=True)
    assert requests.begin("upload", "mallory") is None
    assert 1 <= requests.max_per_user <= max(1, threads // 2)


def test_an_end_makes_room_and_forgets_the_user() -> None:
    requests = LongRequests(2, has_users=True)
    for number in range(100):
        assert requests.begin("stream", f"user {number}") is None
        requests.end("stream", f"user {number}")
    assert not requests._held


def test_a_slot_is_given_back_once() -> None:
    given_back: list[int] = []
    with Slot(lambda: given_back.append(1)) as slot:
        slot.release()
    assert given_back == [1]


def test_a_user_among_others_gets_a_tenth_of_the_streams() -> None:
    streams = OpenStreams(15, has_users=True)
    assert begun(streams, "stream", "mallory", 3) == [None, None, OWN_SHARE]
    assert begun(OpenStreams(2, has_users=False), "stream", "admin", 3) == [None, None, ALL_TAKEN]


def test_streams_end_together_and_later_ones_do_not() -> None:
    streams = EventStreams(OpenStreams(500, has_users=False))
    is_serving = True
    streams.serve(max_streams=1, is_serving=lambda: is_serving)
    first = streams.until_end()
    assert first()
    streams.end_all()
    later = streams.until_end()
    assert (first(), later()) == (False, True)
    is_serving = False
    assert not later()


def test_a_server_with_fewer_connections_has_fewer_streams() -> None:
    counted = OpenStreams(500, has_users=True)
    EventStreams(counted).serve(max_streams=20, is_serving=lambda: True)
    assert (counted.max_of_a_kind, counted.max_per_user) == (20, 2)
