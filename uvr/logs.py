"""Structured logs: stable event names with fields, as JSON for machines or aligned text for a terminal.

Each entry point calls `configure` once. Modules call `structlog.get_logger()` and log events
(`log.info("task.separated", task_uuid=…, audio_s=…)`), not sentences. Two things happen to every field of every record
here, also to those of libraries, so that no call site can forget them:

- Fields with the name of a secret, and query strings of URLs, which may contain signatures, are masked.
- Clients choose paths, names, URLs and what errors quote. So no field is longer than `MAX_CHARS`, and characters that
  control a terminal or the direction of text are escaped. Sentences of our own (`SENTENCES`) may have `MAX_CHARS` per
  word and `MAX_SENTENCE_CHARS` in total; of a stack trace, the last `MAX_TRACE_CHARS` are kept, with its lines.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from textwrap import indent
from typing import Any

import structlog

# At debug level these libraries log whole requests with their signatures.
_VERBOSE_LIBRARIES = ("boto3", "botocore", "s3transfer", "urllib3")

SECRET_FIELDS = frozenset({"password", "secret", "token", "authorization", "credentials"})
SENTENCES = frozenset({"event", "error", "reason", "cause", "risks", "losses", "faults", "warnings", "note"})
TRACES = frozenset({"exception", "stack"})
MAX_CHARS = 200
MAX_SENTENCE_CHARS = 1000
MAX_TRACE_CHARS = 20_000
_MAX_ITEMS = 50
_MAX_DEPTH = 3

_WORD = re.compile(r"\S+")
# A password may contain an @.
_URL_USERINFO = re.compile(r"\b(\w+://)[^/\s]+@")
# C0, DEL, C1; marks, embeddings and isolates for the direction of text; line separators; halves of surrogate pairs.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_UNSAFE_IN_TRACE = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))


def configure(level: str, form: str, *, process: str) -> None:
    """Send all log records of this process to stderr; `form` is "json", "console" or "auto" (console on a terminal)."""
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _process_field(process),
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _make_safe,
    ]
    if console:
        shared.append(_indent_trace)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    # The default formatter of exceptions would print the local variables of every frame.
    console_renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderer: Any = console_renderer if console else structlog.processors.JSONRenderer(ensure_ascii=False)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for library in _VERBOSE_LIBRARIES:
        logging.getLogger(library).setLevel(max(root.level, logging.INFO))


def without_secrets(text: str) -> str:
    """`text` with the query strings, user names and passwords of its URLs replaced by "…"."""
    if "?" in text:
        text = _WORD.sub(_without_query, text)
    return _URL_USERINFO.sub(r"\1…@", text) if "@" in text else text


def _without_query(word: re.Match[str]) -> str:
    """A word without what follows the first question mark after a slash."""
    # Libraries also log the path of a URL alone, for example in "Max retries exceeded with url: /a?signature=…". Only
    # white space ends a URL, because it may contain quotation marks.
    text = word[0]
    slash = text.find("/")
    mark = text.find("?", slash)
    return f"{text[:mark]}?…" if 0 <= slash < mark < len(text) - 1 else text


def safe_text(text: str, max_chars: int = MAX_CHARS) -> str:
    """`text` without secrets and control characters, in at most `max_chars` characters."""
    if len(text) <= max_chars and text.isprintable() and "?" not in text and "@" not in text:
        return text  # almost all are like this
    text = without_secrets(text[: 10 * max_chars])
    return _cut(_UNSAFE.sub(_escaped, text[: max_chars + 1]), max_chars)


def safe_sentence(text: str) -> str:
    """Like `safe_text`, for a sentence that may quote clients: each word is cut, and the whole is longer."""
    if len(text) <= MAX_CHARS:
        return safe_text(text)
    escaped = _UNSAFE.sub(_escaped, without_secrets(text[: 10 * MAX_SENTENCE_CHARS]))
    return _cut(_WORD.sub(lambda word: _cut(word[0], MAX_CHARS), escaped), MAX_SENTENCE_CHARS)


def safe_trace(text: str) -> str:
    """The end of a stack trace, with its lines."""
    return _UNSAFE_IN_TRACE.sub(_escaped, without_secrets(text))[-MAX_TRACE_CHARS:]


def _cut(text: str, max_chars: int) -> str:
    return text if len(text) <= max_chars else f"{text[: max_chars - 1]}…"


def _escaped(character: re.Match[str]) -> str:
    return character[0].encode("unicode_escape").decode("ascii")


def _process_field(process: str) -> Any:
    """A processor that adds the name of the process; a context variable would not reach the threads of the process."""

    def add_process(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("process", process)
        return event

    return add_process


def _indent_trace(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep a line of a stack trace that quotes a client from looking like a record, where records are lines."""
    for name in TRACES & event.keys():
        event[name] = indent(event[name], "  ")
    return event


def _make_safe(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if not name.startswith("_"):  # those are for structlog's own processors
            event[name] = _safe_value(name, value)
    return event


def _safe_value(name: str, value: Any, depth: int = 0) -> Any:
    """`value` of a field `name` as text, number, or a list or mapping of these."""
    if name.lower() in SECRET_FIELDS:
        return "…"
    if isinstance(value, str):
        return _safe_string(name, value)
    if value is None or isinstance(value, int | float):
        return value
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        items = list(value.items())[:_MAX_ITEMS]
        return {safe_text(str(key)): _safe_value(str(key), item, depth + 1) for key, item in items}
    if depth < _MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [_safe_value(name, item, depth + 1) for item in list(value)[:_MAX_ITEMS]]
    return _safe_string(name, str(value))


def _safe_string(name: str, text: str) -> str:
    if name in TRACES:
        return safe_trace(text)
    return safe_sentence(text) if name in SENTENCES else safe_text(text)
