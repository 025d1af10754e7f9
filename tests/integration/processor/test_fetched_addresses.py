"""Which addresses and certificates a download accepts, over real HTTP."""

import ssl
from ipaddress import ip_address, ip_network
from itertools import cycle

import pytest
import requests
import trustme

from tests.support.fetching import LOOPBACK, SONG, fetch, guard_of
from tests.support.http_server import Answer, http_server
from uvr.errors import PermanentError
from uvr.net.url_guard import UrlGuard


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
