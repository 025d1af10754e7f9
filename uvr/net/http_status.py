"""What an HTTP answer means: whether another try makes sense, and where a redirect leads.

One reading for songs, models and webhooks.
"""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from http.client import responses
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import requests
from urllib3 import Retry
from urllib3.exceptions import InvalidHeader

# Of the client errors only these speak of the moment, or of a proxy on the way, and not of the request (RFC 9110 and
# RFC 8470).
_TRANSIENT = frozenset(
    {
        HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
# What stands for itself in a path or a query; letters, digits and -._~ do so anyway.
_RESERVED = "%/:=&?+!$,;'@()*[]"


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


def redirect_target(response: requests.Response) -> str:
    """The absolute URL that a redirect leads to, without its fragment, read as browsers and curl read it.

    Spaces and bytes beyond ASCII are percent-encoded, whether they are UTF-8 or not. Raises `ValueError` for what is no
    URL.
    """
    # Headers are decoded as Latin-1, but what is beyond ASCII in them is UTF-8 for most servers, in host names always.
    location = response.headers["Location"].encode("latin-1").decode(errors="surrogateescape").strip(" \t\r\n")
    parts = urlsplit(urljoin(response.url, location))
    path, query = (quote(part, safe=_RESERVED, errors="surrogateescape") for part in (parts.path, parts.query))
    return urlunsplit((parts.scheme, parts.netloc, path, query, ""))
