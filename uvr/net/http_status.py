"""What an HTTP response means: whether to retry, and where a redirect leads.

Downloads of songs and models, webhooks and the storage share these rules.
"""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from http.client import responses
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import requests
from urllib3 import Retry
from urllib3.exceptions import InvalidHeader

# The client errors that are temporary, or come from a proxy on the way, and say nothing about the request itself
# (RFC 9110 and RFC 8470).
_TRANSIENT = frozenset(
    {
        HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
# Characters that stay unquoted in a path or a query, besides letters, digits and -._~.
_RESERVED = "%/:=&?+!$,;'@()*[]"


def is_transient(status: int) -> bool:
    """Whether the same request may succeed later."""
    return status in _TRANSIENT or status >= 500


def described(status: int) -> str:
    """The status with its standard name, such as "404 Not Found", whatever name the server gave it."""
    return f"{status} {responses.get(status, '')}".strip()


def retry_after_s(response: requests.Response) -> float | None:
    """Seconds to wait before a retry, if the server sent Retry-After (RFC 9110 §10.2.3), else None."""
    with suppress(InvalidHeader):
        return Retry().get_retry_after(response.raw)
    return None


def redirect_target(response: requests.Response) -> str:
    """The absolute URL of a redirect, without its fragment, interpreted as browsers and curl do.

    Spaces and bytes outside of ASCII are percent-encoded, whether they are UTF-8 or not. Raises `ValueError` if the
    header is not a URL.
    """
    # Headers are decoded as Latin-1, but most servers send UTF-8, and host names are always UTF-8.
    location = response.headers["Location"].encode("latin-1").decode(errors="surrogateescape").strip(" \t\r\n")
    parts = urlsplit(urljoin(response.url, location))
    path, query = (quote(part, safe=_RESERVED, errors="surrogateescape") for part in (parts.path, parts.query))
    return urlunsplit((parts.scheme, parts.netloc, path, query, ""))
