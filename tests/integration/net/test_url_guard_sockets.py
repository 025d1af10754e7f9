"""The URL guard with real sockets: however a URL looks and whatever it resolves to, only public hosts are reached.

Connections can be observed on loopback only, so here an allowed loopback address represents the public internet.
Python reports every connect of this process, and a socket that listens on all local addresses notices all others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network

import pytest

from tests.support.api import application, post_generate, settings_for
from tests.support.hosts import LOOPBACK_SPELLINGS, MALFORMED_URLS, SPECIAL_ADDRESSES, bracketed
from tests.support.http_server import Answer, HttpServer, http_server
from tests.support.outbound import delivery_error, fetch, fetch_error
from tests.support.traps import ConnectionTrap, FakeResolver, connection_trap, connects_recorded
from uvr.errors import PermanentError
from uvr.net.hosts import parse_host_list
from uvr.net.url_guard import UrlGuard
from uvr.webhooks import delivery

PUBLIC, PRIVATE = "127.0.0.1", "127.0.0.2"
"""The address that represents a public host, and its neighbour that is private."""

STRICT = UrlGuard([])
ALLOWED = UrlGuard([ip_network(f"{PUBLIC}/32")])

REDIRECTS = [301, 302, 303, 307, 308]
LOCAL_NAMES = ["localhost", "localhost.", "LOCALHOST", "metadata.google.internal"]
ODD_HOSTS = [
    "127.0.0.1.",
    "127.0.0.1.1",
    "256.256.256.256",
    "4294967296",
    "127.0.0.1;example.com",
    "xn--",
    "*.example.com",
    ".example.com",
    "[::1%25lo]",
    "[::1%251]",
    "[fe80::1%25lo]",
    "[fe80::1%251]",
    f"{'a' * 64}.example",
    ".".join(["a" * 63] * 5),
    "a." * 2000 + "example",
]
"""Neither addresses nor possible names. Refusing them and failing to resolve them are both right, connecting is not."""


@pytest.fixture
def bell() -> Iterator[ConnectionTrap]:
    with connection_trap() as bell:
        yield bell


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> FakeResolver:
    return FakeResolver(monkeypatch, localhost=[["127.0.0.1", "::1"]], metadata_google_internal=[["169.254.169.254"]])


@contextmanager
def no_connection(bell: ConnectionTrap) -> Iterator[None]:
    with connects_recorded() as connects:
        yield
    assert (connects, bell.connections()) == ([], [])


# Hosts and URLs


@pytest.mark.parametrize("host", [*LOOPBACK_SPELLINGS, *map(bracketed, SPECIAL_ADDRESSES)])
def test_private_address_is_not_reached_in_any_spelling(host, send, bell):
    with no_connection(bell):
        for scheme, port in [("http", bell.port), ("https", bell.port), ("http", 22), ("https", 0)]:
            assert "not at a public address" in send(f"{scheme}://{host}:{port}/song.wav", STRICT)


@pytest.mark.parametrize("host", [*LOCAL_NAMES, *ODD_HOSTS])
def test_local_name_or_odd_host_is_not_reached(host, send, bell):
    with no_connection(bell):
        assert send(f"http://{host}:{bell.port}/", STRICT)


@pytest.mark.parametrize("url", MALFORMED_URLS, ids=ascii)
def test_malformed_url_is_refused_even_if_its_host_is_allowed(url, send, bell):
    url = url.replace("127.0.0.1/", f"127.0.0.1:{bell.port}/")
    with no_connection(bell):
        assert send(url, STRICT)
    with connects_recorded() as connects:
        error = send(url, UrlGuard([ip_network("127.0.0.1/32")]))
    assert error
    assert {host for host, _ in connects} <= {"127.0.0.1"}


@pytest.mark.parametrize("field", ["audio", "hook_url"])
def test_such_urls_are_refused_when_the_task_is_accepted(field, client, bell, names):
    hosts = [*LOOPBACK_SPELLINGS, *map(bracketed, SPECIAL_ADDRESSES)]
    good = {"audio": "https://songs.example.com/a.mp3"}
    with no_connection(bell):
        for url in [*(f"http://{host}:{bell.port}/" for host in hosts), *MALFORMED_URLS]:
            answer = post_generate(client, {**good, field: url})
            assert (url, answer.status_code) == (url, 400)
            assert field in answer.json["error"]
    assert names.asked == []


# Names


@pytest.mark.parametrize("address", [*SPECIAL_ADDRESSES, "127.0.0.1", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1"])
def test_name_of_a_private_address_is_not_reached(address, send, bell, names):
    names.table["inside.example"] = [[address]]
    with no_connection(bell):
        assert "not at a public address" in send(f"http://inside.example:{bell.port}/", STRICT)
    assert names.asked == ["inside.example"]


@pytest.mark.parametrize("answer", [[PUBLIC, PRIVATE], [PRIVATE, PUBLIC], [PUBLIC, "::1"], [PUBLIC, "fd00::1", PUBLIC]])
def test_name_of_public_and_private_addresses_is_not_reached(answer, send, bell, names):
    names.table["both.example"] = [answer]
    with no_connection(bell):
        assert "not at a public address" in send(f"http://both.example:{bell.port}/", ALLOWED)


def test_name_is_resolved_once_for_each_connection_and_the_checked_address_is_used(send, names):
    names.table["rebinding.example"] = [[PUBLIC], [PRIVATE]]
    with http_server() as server, connects_recorded() as connects:
        server.answer("/song", Answer(body=b"sound"))
        assert send(server.url("/song", host="rebinding.example"), ALLOWED) == ""
    assert names.asked == ["rebinding.example"]
    assert connects == [(PUBLIC, server.port)]


def test_name_that_becomes_private_is_refused_at_the_next_connection(send, bell, names):
    names.table["rebinding.example"] = [[PUBLIC], [PRIVATE]]
    with http_server() as server:
        server.answer("/song", Answer(body=b"sound"))
        assert send(server.url("/song", host="rebinding.example"), ALLOWED) == ""
    with no_connection(bell):
        assert "not at a public address" in send(f"http://rebinding.example:{bell.port}/song", ALLOWED)


def test_hook_that_is_no_url_is_not_retried():
    for url in ["http://*.example.com/", "http://[::1/", ""]:
        attempt = delivery.deliver(url, b"{}", webhook_id="msg_1", guard=STRICT, timeout_s=5)
        assert attempt.outcome == "final"


# Redirects


def server_redirecting(server: HttpServer, status: int, *locations: str) -> str:
    """The first of a chain of redirects to `locations`, one after the other."""
    for number, location in enumerate(locations):
        server.answer(f"/{number}", Answer(status, headers={"Location": location}))
    return server.url("/0")


LOCATIONS = [
    "http://{private}:{port}/",
    "//{private}:{port}/",
    "https://{private}:{port}/",
    "http://0x7f.2:{port}/",
    "http://[::1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://inside.example:{port}/",
    "http://user@{private}:{port}/",
    "http:\\\\{private}:{port}/",
    "http://[{private}:{port}/",
    "http://{private}]:{port}/",
    "//[",
    "http://\uff11\uff12\uff17.0.0.2:{port}/",
    "file:///etc/passwd",
    "gopher://{private}:{port}/_QUIT",
]


@pytest.mark.parametrize("location", LOCATIONS, ids=ascii)
def test_redirect_to_a_private_host_is_not_followed(location, tmp_path, bell, names):
    names.table["inside.example"] = [[PRIVATE]]
    location = location.format(private=PRIVATE, port=bell.port)
    with http_server() as server, connects_recorded() as connects:
        for status in REDIRECTS:
            with pytest.raises(PermanentError):
                fetch(server_redirecting(server, status, location), ALLOWED, tmp_path / "song")
    assert (set(connects), bell.connections()) == ({(PUBLIC, server.port)}, [])


def test_private_host_at_the_end_of_a_chain_of_redirects_is_not_reached(tmp_path):
    with http_server() as server, connects_recorded() as connects:
        url = server_redirecting(server, 302, "/1", "2", f"//{PUBLIC}:{server.port}/3", f"http://{PRIVATE}/")
        assert "not at a public address" in fetch_error(url, ALLOWED, tmp_path / "song")
    assert connects == [(PUBLIC, server.port)] * 4


def test_redirect_to_the_same_name_is_resolved_again(tmp_path, bell, names):
    names.table["rebinding.example"] = [[PUBLIC], [PRIVATE]]
    with http_server() as server, connects_recorded() as connects:
        server.answer("/song", Answer(302, headers={"Location": f"http://rebinding.example:{bell.port}/song"}))
        error = fetch_error(server.url("/song", host="rebinding.example"), ALLOWED, tmp_path / "song")
    assert "not at a public address" in error
    assert (connects, bell.connections()) == ([(PUBLIC, server.port)], [])


@pytest.mark.parametrize("status", REDIRECTS)
def test_redirects_of_a_hook_are_not_followed(status, bell):
    with http_server() as server, connects_recorded() as connects:
        assert delivery_error(server_redirecting(server, status, f"http://{PUBLIC}:{bell.port}/"), ALLOWED)
    assert (connects, bell.connections()) == ([(PUBLIC, server.port)], [])


def test_redirect_to_a_name_in_other_letters_is_followed(tmp_path):
    with http_server() as server:
        server.answer("/%C3%9Cbung.wav", Answer(body=b"sound"))
        assert fetch_error(server_redirecting(server, 302, "/Übung.wav"), ALLOWED, tmp_path / "song") == ""


# ALLOWED_PRIVATE_NETWORKS


@pytest.mark.parametrize("host", ["127.0.0.1", "0x7f.1", "2130706433", "one.example"])
def test_allowed_address_is_reached_in_every_spelling(host, send, names):
    names.table["one.example"] = [["127.0.0.1"]]
    with http_server() as server:
        server.answer("/song", Answer(body=b"sound"))
        assert send(server.url("/song", host=host), ALLOWED) == ""


@pytest.mark.parametrize("host", ["127.0.0.2", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::127.0.0.1]"])
def test_allowed_address_allows_no_neighbour_and_no_mapped_twin(host, send, bell):
    with no_connection(bell):
        assert "not at a public address" in send(f"http://{host}:{bell.port}/", ALLOWED)


def test_allowed_mapped_twin_does_not_allow_the_address_itself(send, bell):
    twin = UrlGuard([ip_network("::ffff:127.0.0.1/128")])
    with no_connection(bell):
        assert "not at a public address" in send(f"http://127.0.0.1:{bell.port}/", twin)
    send(f"http://[::ffff:127.0.0.1]:{bell.port}/", twin, timeout_s=0.5)
    assert bell.connections()


# DENIED_HOSTS and ALLOWED_PORTS


@pytest.mark.parametrize("host", [PUBLIC, "0x7f.1", "own.example", "below.own.example", "other.example"])
def test_denied_host_is_not_reached_in_any_spelling_or_by_another_name(host, send, bell, names):
    """The last name is not denied, but has the address that the denied name has."""
    names.table |= {name: [[PUBLIC]] for name in ("own.example", "below.own.example", "other.example")}
    for denied in ("127.0.0.0/30", "own.example"):
        guard = UrlGuard([ip_network(f"{PUBLIC}/32")], denied=parse_host_list(denied))
        with no_connection(bell):
            assert "DENIED_HOSTS" in send(f"http://{host}:{bell.port}/", guard)


def test_redirect_to_a_denied_host_is_not_followed(tmp_path, bell):
    opened = [ip_network(f"{PUBLIC}/32"), ip_network(f"{PRIVATE}/32")]
    with http_server() as server, connects_recorded() as connects:
        url = server_redirecting(server, 302, f"http://{PRIVATE}:{bell.port}/song")
        error = fetch_error(url, UrlGuard(opened, denied=parse_host_list(PRIVATE)), tmp_path / "song")
    assert "DENIED_HOSTS" in error
    assert (connects, bell.connections()) == ([(PUBLIC, server.port)], [])


def test_redirect_to_another_port_is_not_followed(tmp_path, bell):
    with http_server() as server, connects_recorded() as connects:
        guard = UrlGuard([ip_network(f"{PUBLIC}/32")], allowed_ports=[(server.port, server.port)])
        url = server_redirecting(server, 302, f"http://{PUBLIC}:{bell.port}/song")
        error = fetch_error(url, guard, tmp_path / "song")
    assert error.startswith(f"The URL that the server redirects to leads to port {bell.port}")
    assert (connects, bell.connections()) == ([(PUBLIC, server.port)], [])


def test_port_that_is_not_allowed_is_not_reached(send, bell):
    guard = UrlGuard([ip_network(f"{PUBLIC}/32")], allowed_ports=[(80, 80), (443, 443)])
    with no_connection(bell):
        assert "ALLOWED_PORTS" in send(f"http://{PUBLIC}:{bell.port}/", guard)


def test_closed_port_of_a_name_outside_of_opened_networks_is_not_reached(send, names):
    """That is found out only when the name is resolved."""
    names.table["mail.example"] = [["8.8.8.8"]]
    with connects_recorded() as connects:
        assert "leads to port 25" in send("http://mail.example:25/", ALLOWED)
    assert connects == []


@pytest.mark.parametrize("field", ["audio", "hook_url"])
def test_task_with_a_denied_host_or_port_is_refused_at_once(field, redis_client, tmp_path):
    settings = settings_for(
        redis_client.get_connection_kwargs(), tmp_path, denied_hosts="own.example", allowed_ports="443"
    )
    with application(settings) as app, app.test_client() as client:
        for url, setting in [("https://own.example/", "DENIED_HOSTS"), ("https://a.example:444/", "ALLOWED_PORTS")]:
            answer = post_generate(client, {"audio": "https://songs.example.com/a.mp3", field: url})
            assert answer.status_code == 400
            assert answer.json["error"].startswith(field)
            assert setting in answer.json["error"]


def test_the_traps_notice_a_connection(send, bell):
    """Without this, the tests above could pass because the traps do not work."""
    with connects_recorded() as connects:
        send(f"http://127.0.0.1:{bell.port}/", ALLOWED, timeout_s=0.5)
    assert connects == [("127.0.0.1", bell.port)]
    assert bell.connections()
