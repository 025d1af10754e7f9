"""The two ways in which the service contacts a URL that a client gave: the download of a song, and a webhook."""

from __future__ import annotations

from pathlib import Path

from uvr.errors import UvrError
from uvr.net.url_guard import UrlGuard
from uvr.processor.fetch import download
from uvr.webhooks import delivery


def fetch(url: str, guard: UrlGuard, destination: Path, timeout_s: float = 10) -> None:
    """Download a song of at most 1 MiB."""
    download(url, destination, guard=guard, max_bytes=2**20, timeout_s=timeout_s, total_s=timeout_s)


def fetch_error(url: str, guard: UrlGuard, destination: Path, timeout_s: float = 10) -> str:
    """The message with which a download fails; "" if it succeeds."""
    try:
        fetch(url, guard, destination, timeout_s)
    except UvrError as error:
        return error.message
    return ""


def delivery_error(url: str, guard: UrlGuard, timeout_s: float = 10) -> str:
    """The message with which the delivery of a webhook fails; "" if it succeeds."""
    attempt = delivery.deliver(url, b"{}", webhook_id="msg_1", guard=guard, timeout_s=timeout_s)
    assert (attempt.outcome == "delivered") == (not attempt.error)
    return attempt.error
