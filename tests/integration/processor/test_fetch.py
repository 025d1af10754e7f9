"""Downloads over real HTTP: what arrives, and what is refused."""

import gzip
import zlib
from pathlib import Path

import pytest

from tests.support.fetching import LIMITS, SONG, fetch, guard_of
from tests.support.http_server import Answer, http_server
from uvr.errors import DiskFullError, PermanentError, TransientError
from uvr.processor.fetch import download


def test_download_arrives_byte_for_byte(server, tmp_path):
    url = server.answer("/songs/My%20Song.flac", Answer(body=SONG, headers={"Content-Type": "audio/flac"}))
    fetched = fetch(f"{url}?token=1", tmp_path)
    assert (tmp_path / "song").read_bytes() == SONG
    assert (fetched.bytes, fetched.content_type) == (len(SONG), "audio/flac")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_from_one_that_is_not_writable(server, tmp_path):
    url = server.answer("/", Answer(body=SONG))
    with pytest.raises(DiskFullError, match="The audio could not be saved: the service's disk is full"):
        download(url, Path("/dev/full"), guard=guard_of(), **LIMITS)
    with pytest.raises(TransientError, match="disk is not writable") as caught:
        download(url, tmp_path, guard=guard_of(), **LIMITS)
    assert not isinstance(caught.value, DiskFullError)


def test_body_without_a_length_arrives_whole(server, tmp_path):
    assert fetch(server.answer("/", Answer(body=SONG, length=-1)), tmp_path).bytes == len(SONG)


def test_chunked_body_arrives_whole(server, tmp_path):
    chunks = b"".join(b"%x\r\n%b\r\n" % (65536, SONG[start : start + 65536]) for start in range(0, len(SONG), 65536))
    answer = Answer(body=chunks + b"0\r\n\r\n", length=-1, headers={"Transfer-Encoding": "chunked"})
    fetch(server.answer("/", answer), tmp_path)
    assert (tmp_path / "song").read_bytes() == SONG


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_unasked_content_encoding_is_decoded(server, tmp_path, encoding, compress):
    url = server.answer("/", Answer(body=compress(SONG), headers={"Content-Encoding": encoding}))
    fetch(url, tmp_path)
    assert (tmp_path / "song").read_bytes() == SONG
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


def test_compressed_bomb_is_stopped_at_the_limit(server, tmp_path):
    bomb = gzip.compress(bytes(64 * 2**20), compresslevel=1)
    url = server.answer("/", Answer(body=bomb, headers={"Content-Encoding": "gzip"}))
    with pytest.raises(PermanentError, match="too large: the limit is 1 MiB"):
        fetch(url, tmp_path, max_bytes=2**20)
    assert (tmp_path / "song").stat().st_size <= 2**20


def test_the_size_is_counted_whatever_the_server_says(server, tmp_path):
    url = server.answer("/", Answer(body=SONG, length=-1))
    with pytest.raises(PermanentError, match="too large"):
        fetch(url, tmp_path, max_bytes=len(SONG) - 1)
    assert fetch(url, tmp_path, max_bytes=len(SONG)).bytes == len(SONG)


@pytest.mark.parametrize(("status", "words"), [(404, "404 Not Found"), (403, "403 Forbidden"), (410, "410 Gone")])
def test_a_client_error_is_final_and_says_what_the_server_answered(server, tmp_path, status, words):
    with pytest.raises(PermanentError) as failed:
        fetch(server.answer("/", Answer(status)), tmp_path)
    assert failed.value.message == f"The audio could not be downloaded: the server answered {words}."


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_transient_status_is_worth_a_retry(server, tmp_path, status):
    with pytest.raises(TransientError, match=f"answered {status} "):
        fetch(server.answer("/", Answer(status)), tmp_path)


@pytest.mark.parametrize(("header", "seconds"), [("17", 17), ("soon", None), ("Thu, 01 Jan 1970 00:00:00 GMT", 0)])
def test_retry_after_is_passed_on(server, tmp_path, header, seconds):
    with pytest.raises(TransientError) as failed:
        fetch(server.answer("/", Answer(503, headers={"Retry-After": header})), tmp_path)
    assert failed.value.retry_after_s == seconds


def test_empty_body_is_refused(server, tmp_path):
    with pytest.raises(PermanentError, match="empty file"):
        fetch(server.answer("/", Answer()), tmp_path)


def test_a_truncated_body_is_worth_a_retry(server, tmp_path):
    url = server.answer("/", Answer(body=SONG, length=len(SONG) + 1))
    with pytest.raises(TransientError, match="broke off"):
        fetch(url, tmp_path)


def test_a_truncated_chunked_body_is_worth_a_retry(server, tmp_path):
    answer = Answer(body=b"8\r\nabcd", length=-1, headers={"Transfer-Encoding": "chunked"})
    with pytest.raises(TransientError, match="broke off"):
        fetch(server.answer("/", answer), tmp_path)


def test_damaged_compressed_body_is_final(server, tmp_path):
    url = server.answer("/", Answer(body=SONG, headers={"Content-Encoding": "gzip"}))
    with pytest.raises(PermanentError, match="damaged compressed data"):
        fetch(url, tmp_path)


def test_a_refused_connection_is_worth_a_retry(tmp_path):
    with http_server() as gone:
        url = gone.url("/")
    with pytest.raises(TransientError, match="does not accept connections on port"):
        fetch(url, tmp_path)


def test_redirects_are_followed_to_their_end(server, tmp_path):
    server.answer("/end/Lied.wav", Answer(body=SONG))
    server.answer("/middle", Answer(301, headers={"Location": "end/Lied.wav"}))
    url = server.answer("/start", Answer(302, headers={"Location": server.url("/middle")}))
    fetch(url, tmp_path)
    assert (tmp_path / "song").read_bytes() == SONG
    assert [request.path for request in server.requests] == ["/start", "/middle", "/end/Lied.wav"]


def test_twenty_redirects_are_followed(server, tmp_path):
    url = server.answer("/", *[Answer(302, headers={"Location": "/"})] * 20, Answer(body=SONG))
    assert fetch(url, tmp_path).bytes == len(SONG)


def test_twenty_first_redirect_is_refused(server, tmp_path):
    url = server.answer("/", Answer(302, headers={"Location": "/"}))
    with pytest.raises(PermanentError, match="redirects more than 20 times"):
        fetch(url, tmp_path)
    assert len(server.requests) == 21


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/my song.mp3?by=the band", "/my%20song.mp3?by=the%20band"),
        ("/s\udce4nger.mp3", "/s%E4nger.mp3"),
        ("/sänger.mp3", "/s%C3%A4nger.mp3"),
        ("/song.mp3#t=10", "/song.mp3"),
    ],
)
def test_a_location_that_breaks_the_standard_is_read_as_browsers_read_it(server, tmp_path, location, path):
    server.answer(path.partition("?")[0], Answer(body=SONG))
    url = server.answer("/", Answer(302, headers={"Location": location}))
    fetch(url, tmp_path)
    assert server.requests[-1].path == path


def test_cookie_that_a_redirect_sets_is_sent_to_the_same_host(server, tmp_path):
    server.answer("/song", Answer(body=SONG))
    url = server.answer("/", Answer(302, headers={"Location": "/song", "Set-Cookie": "seen=1"}))
    fetch(url, tmp_path)
    assert server.requests[-1].headers["Cookie"] == "seen=1"


def test_the_message_about_a_refused_redirect_names_the_redirect(server, tmp_path):
    url = server.answer("/", Answer(302, headers={"Location": "http://user:secret@127.0.0.1/"}))
    with pytest.raises(PermanentError) as failed:
        fetch(url, tmp_path)
    assert failed.value.message.startswith("The URL that the server redirects to must not carry a user name")
    assert "secret" not in failed.value.message


def test_the_user_agent_looks_like_a_browser_unless_another_one_is_set(server, tmp_path):
    url = server.answer("/", Answer(body=SONG))
    fetch(url, tmp_path)
    fetch(url, tmp_path, user_agent="Sampler/2.0 (+https://sampler.example)")
    agents = [request.headers["User-Agent"] for request in server.requests]
    assert agents == ["Mozilla/5.0 (compatible; uvr-api)", "Sampler/2.0 (+https://sampler.example)"]


def test_a_web_page_in_place_of_a_song_is_reported_as_one(server, tmp_path):
    page = b"<!DOCTYPE html>\n<html><head><title>Sign in &amp; listen</title></head><body></body></html>"
    url = server.answer("/", Answer(body=page, headers={"Content-Type": "text/html; charset=utf-8"}))
    with pytest.raises(PermanentError) as failed:
        fetch(url, tmp_path)
    assert failed.value.message == (
        "The URL leads to a web page titled “Sign in & listen”, not to audio; its Content-Type is text/html."
    )


def test_a_compressed_web_page_without_title_or_type_is_reported_as_one(server, tmp_path):
    url = server.answer("/", Answer(body=gzip.compress(b"<html></html>"), headers={"Content-Encoding": "gzip"}))
    with pytest.raises(PermanentError) as failed:
        fetch(url, tmp_path)
    assert failed.value.message == "The URL leads to a web page, not to audio."


def test_a_song_that_the_server_calls_a_web_page_is_downloaded(server, tmp_path):
    song = b"RIFF\x24\x08\x00\x00WAVEfmt " + SONG
    url = server.answer("/", Answer(body=song, headers={"Content-Type": "text/html"}))
    fetch(url, tmp_path)
    assert (tmp_path / "song").read_bytes() == song


def test_a_part_that_is_the_whole_file_is_accepted(server, tmp_path):
    headers = {"Content-Range": f"bytes 0-{len(SONG) - 1}/{len(SONG)}"}
    assert fetch(server.answer("/", Answer(206, body=SONG, headers=headers)), tmp_path).bytes == len(SONG)


@pytest.mark.parametrize(
    "content_range", ["bytes 0-1048575/2097152", "bytes 1-1048576/1048577", "bytes 0-1048575/*", "seconds 0-1/2", ""]
)
def test_a_part_of_a_file_is_refused(server, tmp_path, content_range):
    url = server.answer("/", Answer(206, body=SONG, headers={"Content-Range": content_range}))
    with pytest.raises(PermanentError, match="sent only a part of the file although all of it was requested"):
        fetch(url, tmp_path)


def test_body_of_a_redirect_is_not_read(server, tmp_path):
    server.answer("/end", Answer(body=SONG))
    url = server.answer("/", Answer(302, body=SONG, drip_s=3600, headers={"Location": "/end"}))
    fetch(url, tmp_path)  # reading it would exceed the time limit
    assert (tmp_path / "song").read_bytes() == SONG


def test_netrc_of_the_environment_is_ignored(server, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    fetch(server.answer("/", Answer(body=SONG)), tmp_path)
    assert "Authorization" not in server.requests[0].headers


def test_an_error_of_the_disk_is_worth_a_retry(server, tmp_path):
    url = server.answer("/", Answer(body=SONG))
    with pytest.raises(TransientError, match="disk"):
        fetch(url, tmp_path / "missing")
