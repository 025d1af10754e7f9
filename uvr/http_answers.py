"""What the status of an HTTP answer means for another try: one reading for songs, models and webhooks alike."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from http.client import responses

import requests
from urllib3 import Retry
from urllib3.exceptions import InvalidHeader

# Of the client errors only these speak of the moment and not of the request (RFC 9110 and RFC 8470).
_TRANSIENT = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


def is_transient(status: int) -> bool:
    """Whether the same request may be answered better later."""
    return status in _TRANSIENT or status >= 500


def described(status: int) -> str:
    """The status with its name, such as "404 Not Found", in the standard's words and not in the server's."""
    return f"{status} {responses.get(status, '')}".strip()


def retry_after_s(response: requests.Response) -> float | None:
    """Seconds to wait before another try as the server asked for (RFC 9110 §10.2.3); None when it did not."""
    with suppress(InvalidHeader):
        return Retry().get_retry_after(response.raw)
    return None
