"""Structured logs: a stable dotted event and fields, as JSON for machines or aligned text for a terminal.

`configure` is called once by each door. Modules take `structlog.get_logger()` and log facts
(`log.info("task.separated", task_uuid=…, audio_s=…)`), never sentences. Values under a secret's name and the query
strings of URLs, where signatures live, are masked here so that no call site can forget it.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

# At debug level these write whole requests, signatures included.
_TALKATIVE = ("boto3", "botocore", "s3transfer", "urllib3")

SECRET_FIELDS = frozenset({"password", "secret", "token", "authorization", "credentials"})
# Libraries name a URL by its path alone as well, for instance in "Max retries exceeded with url: /a?signature=…".
# Quotation marks may be part of a URL, so nothing but a space ends one; a password may have an @ in it.
_URL_QUERY = re.compile(r"(/[^\s?]*)\?\S+")
_URL_USERINFO = re.compile(r"(\w+://)[^/\s]+@")


def configure(level: str, form: str, *, process: str) -> None:
    """Send all log records of this process to stderr; `form` is "json", "console" or "auto" (console on a terminal)."""
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _naming(process),
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _mask_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=_renderer(console), foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for library in _TALKATIVE:
        logging.getLogger(library).setLevel(max(root.level, logging.INFO))


def without_secrets(text: str) -> str:
    """`text` with URL query strings and user names and passwords in URLs replaced by dots."""
    if "?" in text:
        text = _URL_QUERY.sub(r"\1?…", text)
    return _URL_USERINFO.sub(r"\1…@", text) if "@" in text else text


def _renderer(console: bool) -> Any:
    if console:
        # The default formatter expects to print exceptions itself, with the local variables of every frame.
        return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    return structlog.processors.JSONRenderer(ensure_ascii=False)


def _naming(process: str) -> Any:
    # Not a context variable: those do not reach the threads that a process starts.
    def name(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("process", process)
        return event

    return name


def _mask_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if key.lower() in SECRET_FIELDS:
            event[key] = "…"
        elif isinstance(value, str):
            event[key] = without_secrets(value)
    return event
