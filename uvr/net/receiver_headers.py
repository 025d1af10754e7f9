"""WEBHOOK_HEADERS: headers and credentials that the operator sets for receivers of webhooks, each for one origin only.

A client may direct webhooks to any host. So headers belong to one scheme, host and port, and the scheme is HTTPS unless
the operator writes http://: a client that gives the same host with http:// does not make the service send credentials
in clear text. Error messages never contain a value.
"""

from __future__ import annotations

import base64
import json
import re

from urllib3.util import parse_url

BASIC_AUTH = "basic_auth"
"""A value under this name, user:password, becomes an Authorization header."""

_DEFAULT_PORTS = {"http": 80, "https": 443}

_RECEIVER = re.compile(r"(?:(https?)://)?([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]+))?", re.IGNORECASE)
_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+", re.IGNORECASE)
_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")
_SERVICE_HEADERS = {"connection", "content-length", "content-type", "host", "transfer-encoding", "x-request-id"}


def parse_receiver_headers(text: str) -> dict[str, dict[str, str]]:
    """The headers of each receiver, by its origin with the port, such as https://hooks.example.com:443.

    Raises `ValueError` with a message that shows how to write the setting.
    """
    try:
        receivers = json.loads(text)
    except ValueError:
        receivers = None
    if not isinstance(receivers, dict) or not all(isinstance(headers, dict) for headers in receivers.values()):
        raise ValueError('write it as JSON, such as {"hooks.example.com": {"Authorization": "Bearer …"}}')
    by_origin: dict[str, dict[str, str]] = {}
    for receiver, headers in receivers.items():
        origin = _origin(receiver)
        if origin in by_origin:
            raise ValueError(f"{receiver} is named twice")
        by_origin[origin] = dict(_header(receiver, name, value) for name, value in headers.items())
    return by_origin


def origin_of(url: str) -> str:
    """The origin of a URL that has been checked, as `parse_receiver_headers` writes it: scheme, host and port."""
    parts = parse_url(url)
    port = _DEFAULT_PORTS[parts.scheme or "https"] if parts.port is None else parts.port
    return f"{parts.scheme}://{parts.host}:{port}"


def _origin(receiver: str) -> str:
    parts = _RECEIVER.fullmatch(receiver)
    if not parts or int(parts[3] or 0) >= 2**16:
        raise ValueError(
            f"{receiver.rpartition('@')[2]} is not a receiver; write hooks.example.com, hooks.example.com:8443 or, for "
            "plain HTTP, http://hooks.example.com, without a path"
        )
    scheme = (parts[1] or "https").lower()
    return f"{scheme}://{parts[2].lower()}:{int(parts[3] or _DEFAULT_PORTS[scheme])}"


def _header(receiver: str, name: str, value: object) -> tuple[str, str]:
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        raise ValueError(f"the value of {name} for {receiver} must be a string of printable ASCII characters")
    if name == BASIC_AUTH:
        if ":" not in value:
            raise ValueError(f"{BASIC_AUTH} for {receiver} must be written as user:password")
        return "Authorization", f"Basic {base64.b64encode(value.encode()).decode()}"
    if not _NAME.fullmatch(name) or name.lower() in _SERVICE_HEADERS or name.lower().startswith("webhook-"):
        raise ValueError(f"{receiver} cannot be given the header {name}, which the service sets or HTTP does not allow")
    return name, value
