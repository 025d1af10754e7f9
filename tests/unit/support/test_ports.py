"""Free ports for tests: each port is given to one test only, and to one test run only."""

from __future__ import annotations

import socket

import pytest

from tests.support import ports


def test_a_port_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = ports.free_ports(2)
    assert first != second
    monkeypatch.setattr(ports, "_PORTS", range(first, first + 1))
    with pytest.raises(RuntimeError, match="no port"):
        ports.free_port()


def test_a_port_in_use_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(ports, "_PORTS", range(port, port + 1))
        with pytest.raises(RuntimeError, match="no port"):
            ports.free_port()
