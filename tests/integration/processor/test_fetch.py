"""Downloads over real HTTP: what arrives, what is refused, and that every download ends."""

import gzip
import ssl
import time
import zlib
from ipaddress import ip_address, ip_network
from itertools import cycle
from pathlib import Path

import pytest
import requests
import trustme

from tests.support.http_server import Answer, http_server
from tests.support.waiting import PROMPT_S
from uvr.errors import CancelledError, DiskFullError, PermanentError, TransientError
from uvr.net.url_guard import UrlGuard
from uvr.processor.fetch import MinRate, download

LOOPBACK = ip_network("127.0.0.0/8")
SONG = bytes(range(256)) * 4096
LIMITS = {"max_bytes": 16 * 2**20, "timeout_s": 5.0, "total_s": 20.0}


def guard_of(**names):
    """A guard that allows loopback and resolves these names."""
    return UrlGuard([LOOPBACK], resolver=lambda host: [ip_address(names.get(host.partition(".")[0], host))])


def fetch(url, tmp_path, *, guard=None, **limits):
    return download(url, tmp_path / "song", guard=guard or guard_of(), **{**LIMITS, **limits})


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


def test_a_silent_server_is_given_up_after_the_time_out(server, tmp_path):
    url = server.answer("/", Answer(body=SONG, delay_s=30))
    with pytest.raises(TransientError, match=r"sent nothing for 0\.3 s"):
        fetch(url, tmp_path, timeout_s=0.3)


@pytest.mark.parametrize("length", [None, -1])
@pytest.mark.parametrize("encoded", [False, True])
def test_a_body_below_the_minimum_rate_ends_early(server, tmp_path, length, encoded):
    body, headers = (gzip.compress(SONG), {"Content-Encoding": "gzip"}) if encoded else (SONG, {})
    url = server.answer("/", Answer(body=body, drip_s=0.05, length=length, headers=headers))
    with pytest.raises(TransientError) as failed:
        fetch(url, tmp_path, total_s=3600, timeout_s=0.3, min_rate=MinRate(2**10, 0.5))
    assert failed.value.message == "The audio could not be downloaded: it arrived at less than 1 KiB/s for 0.5 s."


def test_the_time_out_is_the_window_of_the_rate_if_it_is_longer(server, tmp_path):
    url = server.answer("/", Answer(body=SONG, drip_s=0.05))
    with pytest.raises(TransientError, match=r"at less than 8 KiB/s for 0\.7 s"):
        fetch(url, tmp_path, total_s=3600, timeout_s=0.7, min_rate=MinRate(8 * 2**10, 0.1))


def test_a_dripping_header_is_too_slow_as_well(server, tmp_path):
    url = server.answer("/", Answer(body=SONG, drip_s=0.05, drip_head=True))
    with pytest.raises(TransientError, match=r"had not begun to send it after 0\.6 s"):
        fetch(url, tmp_path, total_s=3600, timeout_s=0.3, min_rate=MinRate(1, 0.3))


def test_redirects_do_not_give_a_slow_server_more_time(server, tmp_path):
    url = server.answer("/", Answer(302, headers={"Location": "/"}, delay_s=0.2))
    with pytest.raises(TransientError, match=r"had not begun to send it after 1 s"):
        fetch(url, tmp_path, total_s=3600, timeout_s=0.5, min_rate=MinRate(1, 0.5))


def test_a_slow_download_above_the_minimum_rate_arrives(server, tmp_path):
    # Nothing happens in the first half of each window: only the average counts.
    url = server.answer("/", Answer(body=SONG, drip_s=0.2, piece_bytes=len(SONG) // 8))
    assert fetch(url, tmp_path, timeout_s=0.4, min_rate=MinRate(len(SONG) // 4, 0.4)).bytes == len(SONG)


def test_the_last_bytes_need_not_fill_a_window(server, tmp_path):
    url = server.answer("/", Answer(body=b"RIFF", drip_s=0.1))
    assert fetch(url, tmp_path, min_rate=MinRate(2**20, 5)).bytes == 4


def test_dripping_body_ends_after_the_total_time(server, tmp_path):
    url = server.answer("/", Answer(body=SONG, drip_s=0.05))
    assert_slow(url, tmp_path)


def test_a_dripping_body_without_a_length_does_not_count_as_complete(server, tmp_path):
    url = server.answer("/", Answer(body=SONG, drip_s=0.05, length=-1))
    assert_slow(url, tmp_path)


def test_dripping_header_ends_after_the_total_time(server, tmp_path):
    url = server.answer("/", Answer(body=SONG, drip_s=0.05, drip_head=True))
    assert_slow(url, tmp_path)


def test_dripping_compressed_body_ends_after_the_total_time(server, tmp_path):
    # Nothing comes out of the decoder for so long that only the connection's end stops the reading.
    answer = Answer(body=gzip.compress(SONG), drip_s=0.05, headers={"Content-Encoding": "gzip"})
    assert_slow(server.answer("/", answer), tmp_path)


def test_a_total_time_that_runs_out_between_two_chunks_is_reported(server, tmp_path):
    url = server.answer("/", Answer(body=SONG))
    with pytest.raises(TransientError, match=r"took longer than 0\.5 s"):
        fetch(url, tmp_path, total_s=0.5, cancelled=lambda: time.sleep(0.6))


def assert_slow(url, tmp_path):
    began = time.monotonic()
    with pytest.raises(TransientError, match="took longer than 1 s"):
        fetch(url, tmp_path, total_s=1)
    assert time.monotonic() - began < PROMPT_S


def test_cancelling_stops_between_two_chunks(server, tmp_path):
    url = server.answer("/", Answer(body=SONG, drip_s=0.01))
    answers = iter([False, False, True])
    with pytest.raises(CancelledError):
        fetch(url, tmp_path, cancelled=lambda: next(answers))


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


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://0x7f.2/",
        "http://[::1]/",
        "//10.0.0.1/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
    ],
)
def test_a_redirect_to_a_forbidden_address_is_refused(server, tmp_path, location):
    guard = UrlGuard([ip_network("127.0.0.1/32")])
    url = server.answer("/", Answer(302, headers={"Location": location}))
    with pytest.raises(PermanentError):
        fetch(url, tmp_path, guard=guard)
    assert len(server.requests) == 1


def test_body_of_a_redirect_is_not_read(server, tmp_path):
    server.answer("/end", Answer(body=SONG))
    url = server.answer("/", Answer(302, body=SONG, drip_s=3600, headers={"Location": "/end"}))
    fetch(url, tmp_path)  # reading it would exceed the time limit
    assert (tmp_path / "song").read_bytes() == SONG


def test_name_that_resolves_to_a_private_address_is_refused_without_connecting(server, tmp_path):
    guard = UrlGuard([], resolver=lambda _host: [ip_address("127.0.0.1")])
    with pytest.raises(PermanentError, match="not at a public address"):
        fetch(server.url("/", host="song.example"), tmp_path, guard=guard)
    assert server.requests == []


def test_a_name_that_changes_its_address_after_the_check_is_not_resolved_again(server, tmp_path):
    answers = cycle([[ip_address("127.0.0.1")], [ip_address("127.0.0.99")]])
    asked = []
    guard = UrlGuard([ip_network("127.0.0.1/32")], resolver=lambda host: asked.append(host) or next(answers))
    url = server.answer("/", Answer(body=SONG))
    fetch(url.replace("127.0.0.1", "rebinding.example"), tmp_path, guard=guard)
    assert asked == ["rebinding.example"]


def test_the_next_address_is_used_when_the_first_does_not_answer(server, tmp_path):
    guard = UrlGuard([LOOPBACK], resolver=lambda _host: [ip_address("127.0.0.66"), ip_address("127.0.0.1")])
    url = server.answer("/", Answer(body=SONG))
    assert fetch(url.replace("127.0.0.1", "two.example"), tmp_path, guard=guard).bytes == len(SONG)


def test_server_sees_the_name_and_not_the_address(server, tmp_path):
    server.answer("/", Answer(body=SONG))
    fetch(server.url("/", host="song.example"), tmp_path, guard=guard_of(song="127.0.0.1"))
    assert server.requests[0].headers["Host"] == f"song.example:{server.port}"


def test_netrc_of_the_environment_is_ignored(server, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    fetch(server.answer("/", Answer(body=SONG)), tmp_path)
    assert "Authorization" not in server.requests[0].headers


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture
def tls_server(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("song.example").configure_cert(context)
    with http_server(context) as running:
        running.answer("/", Answer(body=SONG))
        yield running


def test_certificate_is_checked_against_the_name_and_not_the_pinned_address(tls_server, authority, tmp_path):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with guard_of(song="127.0.0.1", other="127.0.0.1").session(total_s=10) as session:
        session.verify = str(tmp_path / "ca.pem")
        assert session.get(tls_server.url("/", host="song.example"), timeout=60).content == SONG
        with pytest.raises(requests.exceptions.SSLError, match="certificate is not valid for 'other"):
            session.get(tls_server.url("/", host="other.example"), timeout=60)
    assert tls_server.server_names == ["song.example", "other.example"]


def test_unknown_certificate_is_final(tls_server, tmp_path):
    with pytest.raises(PermanentError, match="certificate is not valid"):
        fetch(tls_server.url("/", host="song.example"), tmp_path, guard=guard_of(song="127.0.0.1"))


def test_total_time_also_ends_an_encrypted_connection(authority, tmp_path):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("song.example").configure_cert(context)
    with http_server(context) as server, guard_of(song="127.0.0.1").session(total_s=1) as session:
        server.answer("/", Answer(body=SONG, drip_s=0.05, drip_head=True))
        session.verify = str(tmp_path / "ca.pem")
        with pytest.raises(requests.Timeout):
            session.get(server.url("/", host="song.example"), timeout=60)
        assert session.expired


def test_an_error_of_the_disk_is_worth_a_retry(server, tmp_path):
    url = server.answer("/", Answer(body=SONG))
    with pytest.raises(TransientError, match="disk"):
        fetch(url, tmp_path / "missing")
