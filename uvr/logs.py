"""Structured logs: a stable dotted event and fields, as JSON for machines or aligned text for a terminal.

Each entry point calls `configure` once. Modules use `structlog.get_logger()` and log facts
(`log.info("task.separated", task_uuid=…, audio_s=…)`), not sentences. Fields with the name of a secret, and the query
strings of URLs, which contain signatures, are masked here, so that no call site can forget it.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

# At debug level these libraries log whole requests, including signatures.
_VERBOSE_LIBRARIES = ("boto3", "botocore", "s3transfer", "urllib3")

SECRET_FIELDS = frozenset({"password", "secret", "token", "authorization", "credentials"})
# Libraries also log only the path of a URL, for example in "Max retries exceeded with url: /a?signature=…". A URL may
# contain quotation marks, so only a space ends it. A password may contain an @.
_URL_QUERY = re.compile(r"(/[^\s?]*)\?\S+")
_URL_USERINFO = re.compile(r"(\w+://)[^/\s]+@")


def configure(level: str, form: str, *, process: str) -> None:
    """Send all log records of this process to stderr; `form` is "json", "console" or "auto" (console on a terminal)."""
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _add_process(process),
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
    if console:
        # Without this, the formatter prints exceptions with the local variables of every frame.
        renderer: Any = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    else:
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for library in _VERBOSE_LIBRARIES:
        logging.getLogger(library).setLevel(max(root.level, logging.INFO))


def without_secrets(text: str) -> str:
    """`text` with `…` in place of the query strings, user names and passwords in URLs."""
    if "?" in text:
        text = _URL_QUERY.sub(r"\1?…", text)
    return _URL_USERINFO.sub(r"\1…@", text) if "@" in text else text


def _add_process(process: str) -> Any:
    """A processor that adds the name of the process. A context variable would not reach the threads of the process."""

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
