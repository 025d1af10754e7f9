"""When a processor claims another task, which song it decodes next, and which enters the network."""

from __future__ import annotations

import pytest

from redis_queue import Lease
from uvr.processor import stages
from uvr.processor.stages import Stage, Stages

FETCHING, FETCHED, DECODING, DECODED = Stage.FETCHING, Stage.FETCHED, Stage.DECODING, Stage.DECODED
IN_NETWORK, BEHIND = Stage.IN_NETWORK, Stage.BEHIND


class Clock:
    """Time that passes only when a test says so."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(stages, "time", clock)
    return clock


def lease(fence: int, priority: int = 3, models: str = "") -> Lease:
    return Lease("a", 1, priority, 0, 0, fence, 0.0, models)


def stages_with(*held: Stage, max_downloads: int = 4, **priorities: int) -> Stages:
    """Tasks in these stages, claimed in this order by the workers 0, 1, 2 …; worker N may have priority `w{N}`."""
    found = Stages(max_downloads)
    for worker, stage in enumerate(held):
        found.move(worker, stage, lease(worker, priorities.get(f"w{worker}", 3)))
    return found


def fetch_slowly(found: Stages, clock: Clock, *workers: int) -> None:
    """These workers fetch their songs in more than a second, until a task in the queue goes before them."""
    for worker in workers:
        found.move(worker, FETCHING, lease(worker))
    clock.now_s += 60
    for worker in workers:
        found.move(worker, FETCHED, lease(worker))
        found.overtake(worker, overtaken=True)


def test_one_worker_at_a_time_waits_for_a_task() -> None:
    assert stages_with().may_claim()
    assert not stages_with(Stage.CLAIMING).may_claim()


@pytest.mark.parametrize("stage", [FETCHING, DECODING, DECODED])
def test_one_task_is_claimed_ahead_of_a_busy_network(clock: Clock, stage: Stage) -> None:
    assert stages_with(IN_NETWORK).may_claim()
    ahead = stages_with(IN_NETWORK, stage)
    clock.now_s += 9
    assert not ahead.may_claim()


@pytest.mark.parametrize("stage", [FETCHING, DECODING])
def test_while_the_network_is_idle_another_task_is_claimed_after_a_second(clock: Clock, stage: Stage) -> None:
    ahead = stages_with(stage)
    clock.now_s += 1
    assert not ahead.may_claim()
    clock.now_s += 0.1
    assert ahead.may_claim()


def test_while_the_network_is_busy_a_download_has_ten_seconds(clock: Clock) -> None:
    ahead = stages_with(IN_NETWORK, FETCHING)
    clock.now_s += 10.1
    assert ahead.may_claim()


def test_slow_downloads_take_no_more_than_their_places(clock: Clock) -> None:
    slow = stages_with(FETCHING, FETCHING, FETCHING)
    clock.now_s += 60
    assert slow.may_claim()
    slow.move(3, FETCHING, lease(3))
    clock.now_s += 60
    assert not slow.may_claim()


def test_a_song_that_waits_on_disk_goes_before_a_new_claim_unless_the_queue_has_a_better_one() -> None:
    waiting = stages_with(FETCHED)
    assert waiting.may_decode(0)
    assert not waiting.may_claim()
    waiting.overtake(0, overtaken=True)
    assert not waiting.may_decode(0)
    assert waiting.may_claim()


def test_a_song_overtaken_by_one_that_has_just_been_claimed_waits_for_it_for_a_second(clock: Clock) -> None:
    waiting = stages_with(FETCHED, FETCHING, w0=1, w1=5)
    assert not waiting.may_decode(0)
    clock.now_s += 1.1
    assert waiting.may_decode(0)


def test_the_first_in_order_of_several_songs_on_disk_is_decoded() -> None:
    waiting = stages_with(FETCHED, FETCHED, FETCHED, w0=1, w1=5, w2=5)
    assert [waiting.may_decode(worker) for worker in range(3)] == [False, True, False]


def test_one_song_is_decoded_ahead_of_a_busy_network_and_three_exist_as_samples() -> None:
    for ahead in (DECODING, DECODED):
        assert not stages_with(FETCHED, ahead, IN_NETWORK).may_decode(0)
    assert stages_with(FETCHED, IN_NETWORK, BEHIND).may_decode(0)
    assert not stages_with(FETCHED, IN_NETWORK, BEHIND, BEHIND).may_decode(0)


def test_of_two_decoded_songs_the_first_in_order_enters_the_free_network() -> None:
    decoded = stages_with(DECODED, DECODED, w0=1, w1=2)
    assert [decoded.may_enter(worker) for worker in (0, 1)] == [False, True]
    assert not stages_with(DECODED, IN_NETWORK).may_enter(0)


def test_a_song_that_came_quickly_gives_way_at_once() -> None:
    waiting = stages_with(FETCHING)
    waiting.move(0, FETCHED, lease(0))
    assert not waiting.must_give_way(0)
    waiting.overtake(0, overtaken=True)
    assert waiting.must_give_way(0)


def test_a_song_that_came_slowly_gives_way_only_if_the_better_task_has_no_other_place(clock: Clock) -> None:
    waiting = stages_with(FETCHING, FETCHING, FETCHING, max_downloads=4)
    fetch_slowly(waiting, clock, 0, 1)
    assert not any(waiting.must_give_way(worker) for worker in (0, 1))
    waiting.move(3, FETCHING, lease(3))
    assert not any(waiting.must_give_way(worker) for worker in (0, 1)), "the last claim may still be quick"
    clock.now_s += 60
    assert [waiting.must_give_way(worker) for worker in (0, 1)] == [False, True], "the last in order"
    waiting.overtake(1, overtaken=False)
    assert not waiting.must_give_way(1)


def test_a_decoded_song_is_outranked_by_a_higher_priority_on_disk_only() -> None:
    assert stages_with(DECODED, FETCHED, w0=1, w1=5).is_outranked(0)
    assert not stages_with(DECODED, FETCHED, w0=3, w1=3).is_outranked(0)
    assert not stages_with(DECODED, FETCHING, w0=1, w1=5).is_outranked(0)


def test_others_are_claimed_past_an_overtaken_decoded_song_which_goes_back_once_one_of_them_is_fetched() -> None:
    decoded = stages_with(IN_NETWORK, DECODED)
    decoded.overtake(1, overtaken=True)
    assert decoded.may_claim()
    decoded.overtake_none()
    assert not decoded.may_claim(), "the other one was turned away"
    decoded.begin(2, lease(2))
    assert not decoded.is_outranked(1), "it comes after the decoded one"
    decoded.end(2)
    decoded.overtake(1, overtaken=True)
    decoded.begin(2, lease(2))
    decoded.end(0)
    assert decoded.is_outranked(1)
    assert not decoded.may_enter(1)


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ((), False),
        ((FETCHING,), True),
        ((FETCHING, BEHIND), True),
        ((FETCHING, FETCHED), False),
        ((FETCHING, DECODING), False),
        ((FETCHING, IN_NETWORK), False),
    ],
)
def test_the_network_waits_for_downloads_if_nothing_else_is_ahead(held: tuple[Stage, ...], expected: bool) -> None:
    assert stages_with(*held).only_downloading is expected


def test_a_worker_that_has_ended_its_task_holds_nothing() -> None:
    held = stages_with(FETCHED)
    held.end(0)
    held.end(0)
    assert held.count(*Stage) == 0


def test_the_last_models_are_those_of_the_task_that_enters_the_network_last() -> None:
    found = Stages(4)
    assert found.last_models is None
    for worker, (stage, models, priority) in enumerate(
        [(BEHIND, "z", 3), (IN_NETWORK, "a", 3), (DECODED, "b", 3), (FETCHED, "c", 3), (FETCHING, "d", 4)]
    ):
        found.move(worker, stage, lease(worker, priority, models))
    assert found.last_models == "c", "a higher priority enters first"
    for worker, models in ((3, "b"), (2, "d"), (4, "a")):
        found.end(worker)
        assert found.last_models == models
    found.end(1)
    assert found.last_models is None
