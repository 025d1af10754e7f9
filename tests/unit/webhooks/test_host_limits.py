"""No receiver holds more threads than its share, and who is turned away knows when to come back."""

from contextlib import ExitStack, contextmanager

import pytest

from uvr.webhooks import host_limits
from uvr.webhooks.host_limits import HostLimits

SLOW = "https://slow.example/hook"
OTHER = "https://other.example/hook"


class Clock:
    """Time that passes only when a test says so."""

    now_s = 0.0

    def monotonic(self):
        return self.now_s


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(host_limits, "time", clock)
    return clock


@contextmanager
def served(many, url, count):
    """That many turns at one receiver, all at the same time."""
    with ExitStack() as stack:
        assert [stack.enter_context(many.slot(url)) for _ in range(count)] == [0] * count
        yield


def deliver(many, clock, url, took_s):
    with served(many, url, 1):
        clock.now_s += took_s


def pause_s(many, url):
    with many.slot(url) as pause:
        return pause


@pytest.mark.parametrize(("threads", "share"), [(1, 1), (2, 1), (3, 1), (8, 4), (40, 20)])
def test_a_receiver_holds_at_most_half_of_the_threads(threads, share):
    many = HostLimits(threads)
    with served(many, SLOW, share):
        assert pause_s(many, SLOW) > 0
        assert pause_s(many, OTHER) == 0
    assert pause_s(many, SLOW) == 0


@pytest.mark.parametrize(("threads", "share"), [(2, 1), (8, 1), (40, 5)])
def test_a_slow_receiver_holds_at_most_an_eighth_until_it_is_quick_again(clock, threads, share):
    many = HostLimits(threads)
    deliver(many, clock, SLOW, 10)
    with served(many, SLOW, share):
        assert pause_s(many, SLOW) > 0
    deliver(many, clock, SLOW, 0.1)
    with served(many, SLOW, threads // 2):
        assert pause_s(many, SLOW) > 0


def test_receivers_are_hosts_with_their_ports():
    many = HostLimits(2)
    with served(many, "http://a.example/1", 1):
        assert pause_s(many, "http://A.example/2?x=1") > 0
        assert pause_s(many, "http://a.example:8080/1") == 0


def test_the_pause_is_the_time_that_those_before_will_take_within_limits(clock):
    many = HostLimits(16)
    deliver(many, clock, SLOW, 10)
    with served(many, SLOW, 2):
        assert [pause_s(many, SLOW) for _ in range(4)] == [5, 10, 15, 20]
        assert [pause_s(many, SLOW) for _ in range(100)][-1] == 60
        clock.now_s += 0.001
    with served(many, SLOW, 8):
        assert pause_s(many, SLOW) == 0.2


def test_the_pause_begins_anew_with_every_turn_that_is_given(clock):
    many = HostLimits(8)
    deliver(many, clock, SLOW, 10)
    for _ in range(2):
        with served(many, SLOW, 1):
            assert pause_s(many, SLOW) == 10
            clock.now_s += 10


def test_quick_receivers_are_forgotten_and_slow_ones_not_without_end(clock):
    many = HostLimits(8)
    for number in range(3000):
        deliver(many, clock, f"https://quick-{number}.example/", 0.1)
        deliver(many, clock, f"https://slow-{number}.example/", 10)
    assert len(many._receivers) == host_limits._REMEMBERED
