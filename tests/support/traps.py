"""Traps for tests: they tell afterwards when something was opened or connected to that should have been left alone."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    """Hosts and ports that this process connects any socket to while the block runs, as Python itself reports them."""
    connects: list[Any] = []
    _recording.append(connects)
    try:
        yield connects
    finally:
        _recording.remove(connects)


class Doorbell:
    """A socket that listens on every address of this machine and answers nobody; `rings` tells who came."""

    def __init__(self, port: int = 0) -> None:
        dual = socket.has_dualstack_ipv6()
        where, family = ("::", socket.AF_INET6) if dual else ("", socket.AF_INET)
        self._socket = socket.create_server((where, port), family=family, dualstack_ipv6=dual)
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]

    def rings(self) -> list[str]:
        """The addresses that connected since the last look."""
        visitors = []
        with suppress(BlockingIOError):
            while True:
                connection, address = self._socket.accept()
                connection.close()
                visitors.append(address[0])
        return visitors

    def close(self) -> None:
        self._socket.close()


@contextmanager
def doorbell(port: int = 0) -> Iterator[Doorbell]:
    """A `Doorbell` for as long as the block runs."""
    bell = Doorbell(port)
    try:
        yield bell
    finally:
        bell.close()


class WatchedFolder:
    """A folder whose files cannot be opened without it noticing, whichever process does it (Linux's inotify)."""

    _OPENED = 0x20
    _EVENT = struct.Struct("iIII")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0 or self._libc.inotify_add_watch(self._fd, os.fsencode(path), self._OPENED) < 0:
            raise OSError(ctypes.get_errno(), "inotify")

    def opened(self) -> set[str]:
        """The names of the files that were opened since the last look."""
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


@contextmanager
def watched(path: Path) -> Iterator[WatchedFolder]:
    """A `WatchedFolder` for as long as the block runs."""
    folder = WatchedFolder(path)
    try:
        yield folder
    finally:
        folder.close()


class Names:
    """Names of a test's own in front of the system's resolver: `table` has a list of answers for each name.

    One answer, a list of addresses, is given a lookup, the last one for all that follow. Addresses are understood in
    every spelling that the system understands; other names do not resolve, so that no test asks a real name server.
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
