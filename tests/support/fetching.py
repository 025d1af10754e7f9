"""Downloads as the tests of the processor make them: from loopback, with limits that hold in a second."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from uvr.net.url_guard import UrlGuard
from uvr.processor.fetch import Download, download

LOOPBACK = ip_network("127.0.0.0/8")
SONG = bytes(range(256)) * 4096
LIMITS = {"max_bytes": 16 * 2**20, "timeout_s": 5.0, "total_s": 20.0}


def guard_of(**names: str) -> UrlGuard:
    """A guard that allows loopback and resolves these names."""
    return UrlGuard([LOOPBACK], resolver=lambda host: [ip_address(names.get(host.partition(".")[0], host))])


def fetch(url: str, folder: Path, *, guard: UrlGuard | None = None, **limits: Any) -> Download:
    """Download `url` to the file "song" in the folder, with these limits instead of those of `LIMITS`."""
    return download(url, folder / "song", guard=guard or guard_of(), **{**LIMITS, **limits})
