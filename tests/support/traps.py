"""Traps that record connections and opened files, for tests in which none may occur."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

_recording: list[list[Any]] = []


def _record(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        for connects in _recording:
            connects.append(arguments[1])


sys.addaudithook(_record)


@contextmanager
def connects_recorded() -> Iterator[list[Any]]:
    """Hosts and ports to which this process connects any socket during the block, by Python's audit events."""
    connects: list[Any] = []
    _recording.append(connects)
    try:
        yield connects
    finally:
        _recording.remove(connects)


class Doorbell:
    """A socket that listens on every address of this machine and never answers; `rings` lists who connected."""

    def __init__(self, port: int = 0) -> None:
        dual = socket.has_dualstack_ipv6()
        where, family = ("::", socket.AF_INET6) if dual else ("", socket.AF_INET)
        self._socket = socket.create_server((where, port), family=family, dualstack_ipv6=dual)
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]

    def rings(self) -> list[str]:
        """The addresses that connected since the last call."""
        visitors = []
        with suppress(BlockingIOError):
            while True:
                connection, address = self._socket.accept()
                connection.close()
                visitors.append(address[0])
        return visitors

    def close(self) -> None:
        self._socket.close()


def doorbell(port: int = 0) -> closing[Doorbell]:
    """A `Doorbell` for as long as the block runs."""
    return closing(Doorbell(port))


class WatchedFolder:
    """A folder that records which of its files any process opens (by inotify, on Linux)."""

    _OPENED = 0x20
    _EVENT = struct.Struct("iIII")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0 or self._libc.inotify_add_watch(self._fd, os.fsencode(path), self._OPENED) < 0:
            raise OSError(ctypes.get_errno(), "inotify")

    def opened(self) -> set[str]:
        """The names of the files that were opened since the last call."""
        names = set()
        with suppress(BlockingIOError):
            while events := os.read(self._fd, 2**16):
                while events:
                    _, _, _, length = self._EVENT.unpack_from(events)
                    name, events = events[self._EVENT.size :][:length], events[self._EVENT.size + length :]
                    names.add(os.fsdecode(name.rstrip(b"\0")))
        return names

    def close(self) -> None:
        os.close(self._fd)


def watched(path: Path) -> closing[WatchedFolder]:
    """A `WatchedFolder` for as long as the block runs."""
    return closing(WatchedFolder(path))


class Names:
    """A test's own host names, ahead of the system's resolver: `table` has a list of answers for each name.

    Each lookup gets the next answer, a list of addresses; the last answer is repeated. Addresses work in every spelling
    that the system accepts. Other names do not resolve, so that no test asks a real name server.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **table: list[list[str]]) -> None:
        self.table = {name.replace("_", "."): answers for name, answers in table.items()}
        self.asked: list[str] = []
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._getaddrinfo)

    def _getaddrinfo(self, host: str, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:  # noqa: A002  # the signature of the original
        with suppress(OSError):
            return self._real(host, port, family, type, proto, flags | socket.AI_NUMERICHOST)
        if flags & socket.AI_NUMERICHOST or host.rstrip(".").lower() not in self.table:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        self.asked.append(host)
        answers = self.table[host.rstrip(".").lower()]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return [found for address in answer for found in self._real(address, port, family, type, proto, flags)]
