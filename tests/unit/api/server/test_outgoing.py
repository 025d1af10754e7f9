"""What clients have yet to take, with both ends of a connection in the test."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE_S, eventually
from uvr.api.server.limits import ClientLimits
from uvr.api.server.outgoing import Outbox, Sender

LIMITS = ClientLimits(timeout_s=15, grace_s=300, min_bytes_per_s=0, max_connections=0, trusted_proxies=())
LARGE = bytes(range(256)) * 2**14

Ends = tuple[Outbox, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """The outbox of a connection, and the client's end of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with client, server:
        client.settimeout(PATIENCE_S)
        server.setblocking(False)
        outbox = Outbox(server, LIMITS)
        yield outbox, client
        outbox.discard()


@pytest.fixture
def sender() -> Iterator[Sender]:
    sender = Sender()
    yield sender
    sender.stop()


def taken(client: socket.socket, size: int) -> bytes:
    with client.makefile("rb") as stream:
        return stream.read(size)


def fill(outbox: Outbox) -> None:
    """Flush until the kernel takes no more."""
    held_bytes = -1
    while held_bytes != outbox.held_bytes:
        held_bytes = outbox.held_bytes
        assert not outbox.flush()


def test_what_fits_is_sent_at_once_and_in_order(ends: Ends, tmp_path: Path) -> None:
    outbox, client = ends
    (tmp_path / "file").write_bytes(b"0123456789")
    outbox.sendall(b"head ")
    outbox.sendall(b"")
    with (tmp_path / "file").open("rb") as file:
        outbox.sendfile(file, offset=2, count=5)
    outbox.sendall(b" tail")
    assert not outbox.is_empty
    assert outbox.flush()
    assert outbox.is_empty
    assert client.recv(100) == b"head 23456 tail"


def test_a_flush_never_waits(ends: Ends) -> None:
    outbox, _ = ends
    outbox.sendall(LARGE * 10)
    fill(outbox)
    assert 0 < outbox.held_bytes < len(LARGE) * 10


def test_the_sender_sends_the_rest_while_the_client_takes_it(ends: Ends, sender: Sender, tmp_path: Path) -> None:
    outbox, client = ends
    (tmp_path / "file").write_bytes(LARGE)
    outbox.sendall(LARGE)
    with (tmp_path / "file").open("rb") as file:
        outbox.sendfile(file, offset=0, count=len(LARGE))
    results: list[bool] = []
    is_done = threading.Event()
    sender.send(outbox, lambda is_sent: (results.append(is_sent), is_done.set()))
    assert taken(client, 2 * len(LARGE)) == LARGE * 2
    assert is_done.wait(PATIENCE_S)
    assert results == [True]


def test_one_client_that_does_not_read_does_not_keep_others_from_their_bytes(ends: Ends, sender: Sender) -> None:
    stuck, _ = ends
    stuck.sendall(LARGE * 4)
    sender.send(stuck, lambda _: None)
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.settimeout(PATIENCE_S)
        other = Outbox(left, LIMITS)
        other.sendall(LARGE)
        sender.send(other, lambda _: None)
        assert taken(right, len(LARGE)) == LARGE
    assert not stuck.is_empty
    stuck.break_off()


@pytest.mark.parametrize("end", ["client", "server"])
def test_a_broken_connection_is_reported(ends: Ends, sender: Sender, end: str) -> None:
    outbox, client = ends
    outbox.sendall(LARGE * 4)
    results: list[bool] = []
    sender.send(outbox, results.append)
    client.close() if end == "client" else outbox.break_off()
    eventually(lambda: results == [False], "the sender gives up")


def test_a_file_that_shrinks_breaks_the_connection(ends: Ends, tmp_path: Path) -> None:
    outbox, _ = ends
    (tmp_path / "file").write_bytes(b"short")
    with (tmp_path / "file").open("rb") as file:
        outbox.sendfile(file, offset=0, count=100)
    with pytest.raises(OSError, match="shorter"):
        outbox.flush()


def test_discarded_files_are_closed(ends: Ends, tmp_path: Path) -> None:
    outbox, _ = ends
    (tmp_path / "file").write_bytes(b"text")
    with (tmp_path / "file").open("rb") as file:
        outbox.sendfile(file, offset=0, count=4)
    outbox.discard()
    # Other threads of the test process may open and close other files meanwhile.
    assert tmp_path / "file" not in open_files()
    assert outbox.is_empty


def open_files() -> set[Path]:
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(link.readlink())
    return found


def test_a_client_that_takes_nothing_is_too_slow(ends: Ends) -> None:
    outbox, _ = ends
    outbox.sendall(LARGE * 10)
    fill(outbox)
    outbox.waited(1)
    assert not outbox.waited(14)
    assert outbox.waited(2)


def test_a_client_is_not_to_blame_for_what_was_not_sent_yet(ends: Ends) -> None:
    outbox, _ = ends
    outbox.sendall(LARGE)
    assert not outbox.waited(1000)


def test_a_client_that_has_everything_is_not_waited_for(ends: Ends) -> None:
    outbox, client = ends
    outbox.sendall(b"event")
    outbox.flush()
    assert client.recv(10) == b"event"
    eventually(lambda: not outbox.waited(0), "acknowledged")
    assert not outbox.waited(1000)
