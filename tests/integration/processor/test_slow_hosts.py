"""Every download ends: hosts that are silent, drip, or redirect for ever, over real HTTP."""

import gzip
import ssl
import time

import pytest
import requests
import trustme

from tests.support.fetching import SONG, fetch, guard_of
from tests.support.http_server import Answer, http_server
from tests.support.waiting import PROMPT_S
from uvr.errors import CancelledError, TransientError
from uvr.processor.fetch import MinRate


@pytest.fixture
def authority():
    return trustme.CA()


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
