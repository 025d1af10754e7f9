"""Redirects with a Location that violates the standard are interpreted as browsers and curl do."""

from __future__ import annotations

import pytest
import requests

from uvr.net.http_status import redirect_target


def target(location: bytes, base: str = "https://songs.example/a/b?c=1#d") -> str:
    response = requests.Response()
    response.url = base
    response.headers["Location"] = location.decode("latin-1")  # as http.client reads headers
    return redirect_target(response)


@pytest.mark.parametrize(
    ("location", "url"),
    [
        (b"https://cdn.example/x.mp3?sig=%2F+a", "https://cdn.example/x.mp3?sig=%2F+a"),
        (b"/x.mp3", "https://songs.example/x.mp3"),
        (b"x.mp3", "https://songs.example/a/x.mp3"),
        (b"../x.mp3", "https://songs.example/x.mp3"),
        (b"?page=2", "https://songs.example/a/b?page=2"),
        (b"//cdn.example/x.mp3", "https://cdn.example/x.mp3"),
        (b"http://songs.example/x.mp3", "http://songs.example/x.mp3"),
        (b"/x.mp3#t=10", "https://songs.example/x.mp3"),
        (b"/my song.mp3?by=the band", "https://songs.example/my%20song.mp3?by=the%20band"),
        (b" /x.mp3\t", "https://songs.example/x.mp3"),
        (b"/my%20song.mp3", "https://songs.example/my%20song.mp3"),
        (b"/s\xe4nger.mp3", "https://songs.example/s%E4nger.mp3"),
        ("/sänger.mp3".encode(), "https://songs.example/s%C3%A4nger.mp3"),
        ("/歌\u3000曲.mp3?名=一".encode(), "https://songs.example/%E6%AD%8C%E3%80%80%E6%9B%B2.mp3?%E5%90%8D=%E4%B8%80"),
        (b'/a"b<c>d|e.mp3', "https://songs.example/a%22b%3Cc%3Ed%7Ce.mp3"),
        ("https://bücher.example/x y".encode(), "https://bücher.example/x%20y"),
    ],
)
def test_location_is_interpreted_as_browsers_do(location, url):
    assert target(location) == url


@pytest.mark.parametrize("location", [b"http://[::1", b"//[", "http://a\u2100b.example/".encode()])
def test_location_that_is_no_url_is_an_error(location):
    with pytest.raises(ValueError, match=r"."):
        target(location)
