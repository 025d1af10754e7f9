"""No host and no user has all download places, and a task in excess comes back less and less often."""

from __future__ import annotations

import pytest

from uvr.processor import download_shares
from uvr.processor.download_shares import DownloadPlace, DownloadShares
from uvr.tasks.model import Task


def task(audio: str, owner: str = "anna", upload: str = "") -> Task:
    return Task("id", audio, 3, 1, owner=owner, upload=upload)


def taken(shares: DownloadShares, audio: str, owner: str = "anna") -> DownloadPlace:
    place = shares.take(task(audio, owner))
    assert not place.pause_s
    return place


def pause_s(shares: DownloadShares, audio: str, owner: str = "anna") -> float:
    with shares.take(task(audio, owner)) as place:
        return place.pause_s


class Clock:
    """Time that passes only when a test says so."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(download_shares, "time", clock)
    return clock


@pytest.mark.parametrize(("downloads", "places"), [(2, 1), (4, 3), (8, 7)])
def test_a_host_has_all_places_but_one(downloads: int, places: int) -> None:
    shares = DownloadShares(downloads, has_users=False)
    held = [taken(shares, "https://slow.example/a.mp3") for _ in range(places)]
    assert pause_s(shares, "https://slow.example/b.mp3", "ben")
    taken(shares, "https://other.example/a.mp3")
    held[0].leave()
    taken(shares, "https://slow.example/b.mp3")


@pytest.mark.parametrize(("downloads", "places"), [(2, 1), (4, 2), (8, 4)])
def test_with_a_users_file_each_user_has_half_of_the_places(downloads: int, places: int) -> None:
    shares = DownloadShares(downloads, has_users=True)
    for number in range(places):
        taken(shares, f"https://{number}.example/")
    assert pause_s(shares, "https://another.example/")
    taken(shares, "https://another.example/", "ben")


def test_the_only_user_has_no_limit() -> None:
    shares = DownloadShares(4, has_users=False)
    for number in range(4):
        taken(shares, f"https://{number}.example/")


@pytest.mark.parametrize(
    "same", ["http://A.example/2?x=1", "http://a.example:80/", "http://a.example.:80", "http://me@a.example/"]
)
def test_a_host_is_a_name_with_a_port_in_every_spelling(same: str) -> None:
    shares = DownloadShares(2, has_users=False)
    taken(shares, "http://a.example/1")
    assert pause_s(shares, same)
    taken(shares, "https://a.example/1")
    taken(shares, "http://a.example:8080/1")


def test_an_uploaded_song_needs_no_share() -> None:
    shares = DownloadShares(2, has_users=True)
    taken(shares, "http://a.example/")
    for _ in range(3):
        assert shares.take(task("song.wav", upload="uploads/1")).pause_s == 0


def test_a_place_is_given_back_once_even_if_it_is_left_twice() -> None:
    shares = DownloadShares(3, has_users=False)
    with taken(shares, "http://a.example/") as place:
        place.leave()
        taken(shares, "http://a.example/")
    taken(shares, "http://a.example/")
    assert pause_s(shares, "http://a.example/")


def test_hosts_and_users_without_a_download_are_forgotten() -> None:
    shares = DownloadShares(4, has_users=True)
    for number in range(1000):
        taken(shares, f"http://{number}.example/", f"user-{number}").leave()
    assert not shares._shares


def test_the_pause_is_the_time_that_the_downloads_before_will_take_within_limits(clock: Clock) -> None:
    shares = DownloadShares(3, has_users=False)
    held = [taken(shares, "http://slow.example/") for _ in range(2)]
    assert pause_s(shares, "http://slow.example/") == 1
    clock.now_s += 20
    assert [pause_s(shares, "http://slow.example/") for _ in range(3)] == [20, 30, 40]
    assert [pause_s(shares, "http://slow.example/") for _ in range(100)][-1] == 60
    held[0].leave()
    held[0] = taken(shares, "http://slow.example/")
    assert pause_s(shares, "http://slow.example/") == 10
