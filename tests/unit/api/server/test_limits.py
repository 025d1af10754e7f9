"""When a client is too slow."""

from __future__ import annotations

from uvr.api.server.limits import ClientLimits, Pace

LIMITS = ClientLimits(timeout_s=15, grace_s=300, min_bytes_per_s=256 * 2**10, max_connections=100, trusted_proxies=())


def seconds_until_too_slow(pace: Pace, bytes_per_s: int, max_s: int) -> int | None:
    """How long a client with this rate is waited for; None if it is never too slow."""
    for second in range(1, max_s + 1):
        pace.waited(1, bytes_per_s)
        if pace.is_too_slow:
            return second
    return None


def test_a_client_that_pauses_is_too_slow() -> None:
    pace = LIMITS.taking_pace()
    pace.waited(14, 0)
    assert not pace.is_too_slow
    pace.waited(1, 0)
    assert pace.is_too_slow


def test_pauses_do_not_add_up() -> None:
    pace = Pace(15, ())
    for _ in range(10):
        pace.waited(14, 0)
        pace.waited(0, 1)
    pace.waited(14, 0)
    pace.resumed()
    pace.waited(14, 0)
    assert not pace.is_too_slow


def test_a_song_of_ten_megabytes_gets_through_over_a_slow_line() -> None:
    assert seconds_until_too_slow(LIMITS.sending_pace(), 30_000, max_s=10_000_000 // 30_000) is None


def test_a_body_of_500_mebibytes_takes_minutes() -> None:
    slowest_s = (500 * 2**20 / LIMITS.min_bytes_per_s) + LIMITS.grace_s
    assert slowest_s < 40 * 60
    assert seconds_until_too_slow(LIMITS.sending_pace(), int(500 * 2**20 / slowest_s * 0.95), max_s=4000)


def test_a_download_may_take_hours_but_not_for_ever() -> None:
    assert seconds_until_too_slow(LIMITS.taking_pace(), 20_000, max_s=10_000) is None
    assert seconds_until_too_slow(LIMITS.taking_pace(), 1_000, max_s=60)
