"""Nobody occupies more threads than the shares allow, and a webhook in excess learns when to ask again."""

from contextlib import ExitStack, contextmanager

import pytest

from uvr.webhooks import thread_shares
from uvr.webhooks.thread_shares import ThreadShares

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
    monkeypatch.setattr(thread_shares, "time", clock)
    return clock


def single_user(threads):
    return ThreadShares(threads, has_users=False)


@contextmanager
def served(shares, urls, user="admin"):
    """A slot for each of these URLs, all at the same time."""
    with ExitStack() as stack:
        assert [stack.enter_context(shares.slot(user, url)) for url in urls] == [0] * len(urls)
        yield


def deliver(shares, clock, url, took_s, user="admin"):
    with served(shares, [url], user):
        clock.now_s += took_s


def pause_s(shares, url, user="admin"):
    with shares.slot(user, url) as pause:
        return pause


def occupied(shares, urls, user="admin"):
    """How many of these URLs get a slot, all at the same time."""
    with ExitStack() as stack:
        return sum(stack.enter_context(shares.slot(user, url)) == 0 for url in urls)


def ports(count, host="hanging.example"):
    return [f"https://{host}:{port}/hook" for port in range(1000, 1000 + count)]


@pytest.mark.parametrize(("threads", "share"), [(1, 1), (2, 1), (7, 1), (8, 2), (40, 10)])
def test_a_new_receiver_occupies_at_most_a_quarter_of_the_threads(threads, share):
    assert occupied(single_user(threads), [SLOW] * threads) == share


@pytest.mark.parametrize(("threads", "share"), [(1, 1), (2, 1), (3, 1), (8, 4), (40, 20)])
def test_a_proven_receiver_occupies_at_most_half_of_the_threads(clock, threads, share):
    shares = single_user(threads)
    deliver(shares, clock, SLOW, 0.1)
    assert occupied(shares, [SLOW] * threads) == share


@pytest.mark.parametrize(("threads", "share"), [(2, 1), (8, 1), (40, 5)])
def test_a_slow_receiver_occupies_at_most_an_eighth_until_it_is_quick_again(clock, threads, share):
    shares = single_user(threads)
    deliver(shares, clock, SLOW, 10)
    assert occupied(shares, [SLOW] * threads) == share
    deliver(shares, clock, SLOW, 0.1)
    assert occupied(shares, [SLOW] * threads) == threads // 2


@pytest.mark.parametrize("urls", [ports(30), [f"https://{n}.wildcard.example/" for n in range(30)]])
def test_all_new_receivers_together_leave_half_of_the_threads_to_proven_ones(clock, urls):
    shares = single_user(8)
    deliver(shares, clock, OTHER, 0.1)
    with served(shares, urls[:4]):
        assert occupied(shares, urls) == 0
        assert occupied(shares, [OTHER] * 8) == 4


def test_all_slow_receivers_together_leave_room_for_new_ones(clock):
    shares = single_user(8)
    for url in ports(30):
        deliver(shares, clock, url, 10)
    with served(shares, ports(2)):
        assert occupied(shares, ports(30)) == 0
        assert occupied(shares, [OTHER] * 8) == 2


def test_a_user_has_half_of_every_share(clock):
    shares = ThreadShares(16, has_users=True)
    assert occupied(shares, ports(30), "mallory") == 4
    for url in ports(30):
        deliver(shares, clock, url, 10, "mallory")
    assert occupied(shares, ports(30), "mallory") == 2
    for url in ports(30):
        deliver(shares, clock, url, 0.1, "mallory")
    assert occupied(shares, ports(30), "mallory") == 8


@pytest.mark.parametrize("took_s", [None, 10, 0.1])
def test_no_receivers_of_one_user_delay_a_new_receiver_of_another(clock, took_s):
    shares = ThreadShares(8, has_users=True)
    for url in ports(30) if took_s else ():
        deliver(shares, clock, url, took_s, "mallory")
    with ExitStack() as stack:
        for url in ports(30) * 4:
            stack.enter_context(shares.slot("mallory", url))
        assert occupied(shares, [OTHER, SLOW], "anna") == 2


def test_tasks_from_before_there_were_users_have_the_share_of_one_user():
    shares = ThreadShares(16, has_users=True)
    assert occupied(shares, ports(30), "") == 4
    with served(shares, ports(4), ""):
        assert occupied(shares, ports(30), "anna") == 4


def test_what_one_user_does_to_a_receiver_does_not_count_for_another(clock):
    shares = ThreadShares(8, has_users=True)
    deliver(shares, clock, OTHER, 0.1, "anna")
    deliver(shares, clock, OTHER, 10, "mallory")
    assert occupied(shares, [OTHER] * 8, "anna") == 4


def test_an_error_of_our_own_proves_nothing_and_keeps_no_thread():
    shares = single_user(8)
    for _ in range(8):
        with pytest.raises(ConnectionError), served(shares, [OTHER]):
            raise ConnectionError
    assert occupied(shares, [OTHER] * 8) == 2


def test_a_receiver_is_a_host_with_a_port():
    shares = single_user(4)
    with served(shares, ["http://a.example/1"]):
        assert pause_s(shares, "http://A.example/2?x=1") > 0
        assert pause_s(shares, "http://a.example:8080/1") == 0


def test_the_pause_is_the_time_that_earlier_webhooks_will_take_within_limits(clock):
    shares = single_user(16)
    deliver(shares, clock, SLOW, 10)
    with served(shares, [SLOW] * 2):
        assert [pause_s(shares, SLOW) for _ in range(4)] == [5, 10, 15, 20]
        assert [pause_s(shares, SLOW) for _ in range(100)][-1] == 60
        clock.now_s += 0.001
    with served(shares, [SLOW] * 8):
        assert pause_s(shares, SLOW) == 0.2


def test_the_pause_of_a_user_does_not_count_the_webhooks_of_others(clock):
    shares = ThreadShares(8, has_users=True)
    for user in ("mallory", "oscar", "anna"):
        deliver(shares, clock, SLOW, 10, user)
    with served(shares, [SLOW], "mallory"), served(shares, [SLOW], "oscar"):
        assert [pause_s(shares, SLOW, "mallory") for _ in range(10)][-1] == 60
        assert pause_s(shares, SLOW, "anna") == 5


def test_the_pause_starts_over_with_every_slot_that_is_given(clock):
    shares = single_user(8)
    deliver(shares, clock, SLOW, 10)
    for _ in range(2):
        with served(shares, [SLOW]):
            assert pause_s(shares, SLOW) == 10
            clock.now_s += 10


def test_the_latest_receivers_are_remembered_up_to_a_maximum(clock, monkeypatch):
    monkeypatch.setattr(thread_shares, "_MAX_RECEIVERS", 10)
    shares = single_user(8)
    with served(shares, [OTHER]):
        for number in range(30):
            deliver(shares, clock, f"https://quick-{number}.example/", 0.1)
    assert len(shares._receivers) == 10
    assert occupied(shares, ["https://quick-29.example/"] * 8) == 4
    assert occupied(shares, ["https://quick-0.example/"] * 8) == 2
