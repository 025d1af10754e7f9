"""FETCH_PROXY and WEBHOOK_PROXY: requests use the proxy, and the guard still refuses the hosts that it can check.

The proxy can resolve names that this machine cannot, like a proxy that is the only way to the internet.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_network
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

import pytest
import requests
import trustme
from redis import Redis

from tests.support.api import settings_for
from tests.support.http_server import Answer, HttpServer, http_server
from tests.support.leases import claim
from tests.support.outbound import fetch_error
from tests.support.ports import free_port
from tests.support.threads import in_thread
from tests.support.traps import FakeResolver, connects_recorded
from tests.support.waiting import eventually
from tests.support.workshop import Workshop, working
from uvr.errors import PermanentError, TransientError
from uvr.net.hosts import parse_host_list
from uvr.net.url_guard import UrlGuard
from uvr.processor.fetch import download
from uvr.processor.handler import SeparationHandler
from uvr.processor.scheduler import InferenceScheduler
from uvr.redis.clients import connect
from uvr.tasks.broker import Broker
from uvr.tasks.model import Status, Task, WebhookState
from uvr.timestamps import now_ms
from uvr.webhooks import delivery
from uvr.worker.heartbeat import Heartbeat
from uvr.worker.shutdown import Shutdown

SONG = b"RIFF\x24\x08\x00\x00WAVEfmt "
CREDENTIALS, BASIC = "me:p%40ss", "Basic bWU6cEBzcw=="  # me:p@ss


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> FakeResolver:
    """What this machine's resolver knows; no test asks a real one."""
    return FakeResolver(monkeypatch)


@pytest.fixture
def proxy() -> Iterator[HttpServer]:
    with http_server() as server:
        yield server


def behind(proxy: HttpServer, *opened: str, credentials: str = "") -> UrlGuard:
    address = f"http://{credentials}@127.0.0.1:{proxy.port}" if credentials else f"http://127.0.0.1:{proxy.port}"
    return UrlGuard([ip_network(network) for network in opened], proxy=address)


# Requests through the proxy


def test_proxy_resolves_the_name_and_gets_the_whole_url_and_its_own_credentials(proxy, send):
    proxy.answer("http://song.example/a.wav", Answer(body=SONG))
    assert send("http://song.example/a.wav?token=1", behind(proxy, credentials=CREDENTIALS)) == ""
    [request] = proxy.requests
    assert request.path == "http://song.example/a.wav?token=1"
    assert request.headers["Host"] == "song.example"
    assert request.headers["Proxy-Authorization"] == BASIC


def test_every_hop_of_a_redirect_goes_through_the_proxy(proxy, tmp_path):
    proxy.answer("http://song.example/a.wav", Answer(302, headers={"Location": "http://cdn.example/b c.wav"}))
    proxy.answer("http://cdn.example/b%20c.wav", Answer(body=SONG))
    assert fetch_error("http://song.example/a.wav", behind(proxy), tmp_path / "song") == ""


def test_encrypted_connection_goes_through_a_tunnel_to_the_name_of_the_url(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("song.example").configure_cert(context)
    with http_server(context) as server, tunnelling(server.port) as tunnel:
        server.answer("/", Answer(body=SONG))
        guard = UrlGuard([], proxy=f"http://{CREDENTIALS}@127.0.0.1:{tunnel.port}")
        with guard.session(total_s=10) as session:
            session.verify = str(tmp_path / "ca.pem")
            assert session.get("https://song.example/", timeout=5).content == SONG
            with pytest.raises(requests.exceptions.SSLError, match="certificate is not valid for 'other"):
                session.get("https://other.example/", timeout=5)
    assert server.server_names == ["song.example", "other.example"]
    assert "Proxy-Authorization" not in server.requests[0].headers
    assert [head.split(b"\r\n")[0].split()[:2] for head in tunnel.heads] == [
        [b"CONNECT", b"song.example:443"],
        [b"CONNECT", b"other.example:443"],
    ]
    assert f"Proxy-Authorization: {BASIC}".encode() in tunnel.heads[0]


def test_allowed_network_is_reached_directly(proxy, send, names):
    names.table["inside.example"] = [["127.0.0.1"]]
    with http_server() as server:
        server.answer("/song", Answer(body=SONG))
        assert send(server.url("/song", host="inside.example"), behind(proxy, "127.0.0.1/32")) == ""
    assert proxy.requests == []


def test_proxy_variables_of_the_environment_are_ignored(proxy, send, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    opened = UrlGuard([ip_network("127.0.0.1/32")])
    with http_server() as server:
        server.answer("/song", Answer(body=SONG))
        assert send(server.url("/song"), opened) == ""
    assert "could not be resolved" in send("http://song.example/", opened)
    assert "not at a public address" in send("http://127.0.0.2/", opened)
    assert proxy.requests == []


def test_the_variable_no_proxy_is_ignored(proxy, send, monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "*")
    proxy.answer("http://song.example/", Answer(body=SONG))
    assert send("http://song.example/", behind(proxy)) == ""


# Hosts that the guard still refuses


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "0x7f.1",
        "2130706433",
        "127.0.0.1.",
        "169.254.169.254",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "inside.example",
        "both.example",
        "localhost",
        "redis",
        "LOCALHOST.",
        "metadata.google.internal",
        "printer.local",
        "nas.home.arpa",
        "256.256.256.256",
        "127.0.0.0x1",
        "song.example.0x1",
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_private_host_is_refused_without_a_request_to_the_proxy(scheme, host, proxy, send, names):
    names.table |= {"inside.example": [["10.0.0.1"]], "both.example": [["8.8.8.8", "10.0.0.1"]]}
    with connects_recorded() as connects:
        assert send(f"{scheme}://{host}:8080/song", behind(proxy))
    assert connects == []


@pytest.mark.parametrize("url", ["http://own.example/", "https://a.own.example/", "http://twin.example/"])
def test_denied_host_is_refused_without_a_request_to_the_proxy(url, proxy, send, names):
    """The first two names resolve only at the proxy."""
    names.table |= {"twin.example": [["8.8.4.4"]]}
    address = f"http://127.0.0.1:{proxy.port}"
    guard = UrlGuard([], denied=parse_host_list("own.example, 8.8.4.0/24"), proxy=address)
    with connects_recorded() as connects:
        assert "DENIED_HOSTS" in send(url, guard)
    assert connects == []


@pytest.mark.parametrize("url", ["http://song.example:25/", "https://song.example:22/"])
def test_closed_port_is_refused_without_a_request_to_the_proxy(url, proxy, send):
    with connects_recorded() as connects:
        assert "ALLOWED_PORTS" in send(url, behind(proxy))
    assert connects == []


def test_session_checks_the_port_itself(proxy):
    with behind(proxy).session(total_s=5) as session, pytest.raises(PermanentError, match="leads to port 25"):
        session.get("http://song.example:25/", timeout=5)
    assert proxy.requests == []


def test_session_checks_the_host_itself(proxy):
    with behind(proxy).session(total_s=5) as session, pytest.raises(PermanentError, match="not at a public address"):
        session.get("http://[::1]:8080/", timeout=5)
    assert proxy.requests == []


@pytest.mark.parametrize(
    "location", ["http://127.0.0.1/", "https://[::1]/", "//0x7f.1/", "http://inside.example", "//db/"]
)
def test_redirect_to_a_private_host_is_refused(location, proxy, tmp_path, names):
    names.table["inside.example"] = [["10.0.0.1"]]
    proxy.answer("http://song.example/", Answer(302, headers={"Location": location}))
    assert fetch_error("http://song.example/", behind(proxy), tmp_path / "song")
    assert [request.path for request in proxy.requests] == ["http://song.example/"]


# Proxies that fail


@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, PermanentError), (407, TransientError), (429, TransientError), (502, TransientError), (504, TransientError)],
)
def test_refusal_by_the_proxy_is_reported_as_such(status, kind, proxy, tmp_path):
    proxy.answer("song.example:443", Answer(status))
    with pytest.raises(kind, match=rf"^The proxy of this service does not connect to song\.example: .+ {status} "):
        download(
            "https://song.example/a?token=secret",
            tmp_path / "song",
            guard=behind(proxy, credentials=CREDENTIALS),
            max_bytes=1,
            timeout_s=5,
            total_s=5,
        )


def test_proxy_that_refuses_the_credentials_is_a_transient_error(proxy, tmp_path):
    proxy.answer("http://song.example/", Answer(407))
    with pytest.raises(TransientError, match="407 Proxy Authentication Required"):
        download("http://song.example/", tmp_path / "s", guard=behind(proxy), max_bytes=1, timeout_s=5, total_s=5)
    attempt = delivery.deliver("http://song.example/", b"{}", webhook_id="1", guard=behind(proxy), timeout_s=5)
    assert attempt.outcome == "retry"


@pytest.mark.parametrize("host", ["127.0.0.1", "proxy.invalid"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_unreachable_proxy_is_reported_without_its_address(scheme, host, send):
    guard = UrlGuard([], proxy=f"http://{CREDENTIALS}@{host}:{free_port()}")
    assert send(f"{scheme}://song.example/", guard) == "The proxy of this service does not accept connections."


def test_total_time_ends_a_silent_proxy(proxy, tmp_path):
    proxy.answer("song.example:443", Answer(delay_s=30))
    with pytest.raises(TransientError, match="took longer than 1 s"):
        download("https://song.example/", tmp_path / "s", guard=behind(proxy), max_bytes=1, timeout_s=5, total_s=1)


# The settings


def test_song_of_a_task_is_fetched_through_the_proxy(proxy, redis_client: Redis, tmp_path):
    proxy.answer("http://song.example/a.wav", Answer(body=b"<html><title>Gone</title>"))
    settings = settings_for(
        redis_client.get_connection_kwargs(),
        tmp_path,
        fetch_proxy=f"http://{CREDENTIALS}@127.0.0.1:{proxy.port}",
        fetch_user_agent="Sampler/2.0",
    )
    clients = connect(settings)
    broker = Broker(settings, clients)
    task = Task(str(uuid.uuid4()), "http://song.example/a.wav", 3, now_ms())
    broker.store.submit(task)
    lease = claim(broker.tasks)
    no_separator: Any = None  # the task fails before it gets there
    scheduler = InferenceScheduler(broker.tasks, "mine", lambda: "", settings.download_threads)
    handler = SeparationHandler(settings, broker, no_separator, scheduler)
    with pytest.raises(PermanentError, match="a web page titled “Gone”"):
        handler.handle(lease, Heartbeat(broker.tasks, lease, 15, Shutdown()))
    clients.close()
    [request] = proxy.requests
    assert request.headers["User-Agent"] == "Sampler/2.0"


class TestWebhooks:
    """Webhooks that the workers of the uploader deliver."""

    @pytest.fixture
    def workshop_settings(self, proxy: HttpServer) -> dict[str, Any]:
        headers = {"http://hooks.example": {"basic_auth": "uvr:open sesame", "User-Agent": "stems"}}
        return {
            "webhook_proxy": f"http://127.0.0.1:{proxy.port}",
            "webhook_headers": json.dumps(headers),
            "allowed_private_networks": "",
        }

    def test_webhook_uses_the_proxy_with_the_headers_of_its_receiver(self, workshop: Workshop, proxy: HttpServer):
        proxy.answer("http://hooks.example/uvr", Answer(204))
        task = Task(
            "a",
            "https://songs.example/a.mp3",
            3,
            1_700_000_000_000,
            hook_url="http://hooks.example/uvr",
            status=Status.FAILED,
            error_message="It was not audio.",
            webhook=WebhookState.PENDING,
        )
        assert workshop.broker.webhooks.enqueue("a", 3, task.to_record()).accepted
        with working(workshop):
            eventually(lambda: workshop.task("a").webhook == WebhookState.DELIVERED)
        [request] = proxy.requests
        assert request.headers["Authorization"] == "Basic dXZyOm9wZW4gc2VzYW1l"
        assert request.headers["User-Agent"] == "stems"
        assert "dXZyOm9wZW4gc2VzYW1l" not in str(workshop.client.hgetall("uvr_webhooks:item:a"))
        assert "dXZyOm9wZW4gc2VzYW1l" not in str(workshop.task("a"))


# A proxy that can tunnel


class _Tunnel(ThreadingTCPServer):
    """A proxy that connects every CONNECT to one port of this machine; `heads` are the requests it received."""

    daemon_threads = False

    def __init__(self, target_port: int) -> None:
        super().__init__(("127.0.0.1", 0), _TunnelHandler)
        self.target = ("127.0.0.1", target_port)
        self.heads: list[bytes] = []

    @property
    def port(self) -> int:
        return self.server_address[1]


class _TunnelHandler(StreamRequestHandler):
    server: _Tunnel

    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.rfile.readline()
        self.server.heads.append(head)
        with socket.create_connection(self.server.target) as target:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(target, self.connection))
            back.start()
            _pump(self.connection, target)
            back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while block := source.recv(65536):
            sink.sendall(block)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        source.close()


@contextmanager
def tunnelling(target_port: int) -> Iterator[_Tunnel]:
    with (
        _Tunnel(target_port) as tunnel,
        in_thread(partial(tunnel.serve_forever, poll_interval=0.02), tunnel.shutdown, name="tunnel"),
    ):
        yield tunnel
