"""No host occupies more threads than its share, and a webhook in excess learns when to ask again."""

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
def served(limits, url, count):
    """So many slots of one host, all at the same time."""
    with ExitStack() as stack:
        assert [stack.enter_context(limits.slot(url)) for _ in range(count)] == [0] * count
        yield


def deliver(limits, clock, url, took_s):
    with served(limits, url, 1):
        clock.now_s += took_s


def pause_s(limits, url):
    with limits.slot(url) as pause:
        return pause


@pytest.mark.parametrize(("threads", "share"), [(1, 1), (2, 1), (3, 1), (8, 4), (40, 20)])
def test_a_host_occupies_at_most_half_of_the_threads(threads, share):
    limits = HostLimits(threads)
    with served(limits, SLOW, share):
        assert pause_s(limits, SLOW) > 0
        assert pause_s(limits, OTHER) == 0
    assert pause_s(limits, SLOW) == 0


@pytest.mark.parametrize(("threads", "share"), [(2, 1), (8, 1), (40, 5)])
def test_a_slow_host_occupies_at_most_an_eighth_until_it_is_quick_again(clock, threads, share):
    limits = HostLimits(threads)
    deliver(limits, clock, SLOW, 10)
    with served(limits, SLOW, share):
        assert pause_s(limits, SLOW) > 0
    deliver(limits, clock, SLOW, 0.1)
    with served(limits, SLOW, threads // 2):
        assert pause_s(limits, SLOW) > 0


def test_a_host_is_a_name_with_a_port():
    limits = HostLimits(2)
    with served(limits, "http://a.example/1", 1):
        assert pause_s(limits, "http://A.example/2?x=1") > 0
        assert pause_s(limits, "http://a.example:8080/1") == 0


def test_the_pause_is_the_time_that_earlier_webhooks_will_take_within_limits(clock):
    limits = HostLimits(16)
    deliver(limits, clock, SLOW, 10)
    with served(limits, SLOW, 2):
        assert [pause_s(limits, SLOW) for _ in range(4)] == [5, 10, 15, 20]
        assert [pause_s(limits, SLOW) for _ in range(100)][-1] == 60
        clock.now_s += 0.001
    with served(limits, SLOW, 8):
        assert pause_s(limits, SLOW) == 0.2


def test_the_pause_starts_over_with_every_slot_that_is_given(clock):
    limits = HostLimits(8)
    deliver(limits, clock, SLOW, 10)
    for _ in range(2):
        with served(limits, SLOW, 1):
            assert pause_s(limits, SLOW) == 10
            clock.now_s += 10


def test_quick_hosts_are_forgotten_and_slow_ones_remembered_up_to_a_maximum(clock):
    limits = HostLimits(8)
    for number in range(3000):
        deliver(limits, clock, f"https://quick-{number}.example/", 0.1)
        deliver(limits, clock, f"https://slow-{number}.example/", 10)
    assert len(limits._hosts) == host_limits._MAX_IDLE_SLOW_HOSTS
