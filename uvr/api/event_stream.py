"""A stream of server-sent events as a response that holds no thread, of any kind of news.

https://html.spec.whatwg.org/multipage/server-sent-events.html. Between two looks at its `News` a stream pauses
(`uvr.api.server.streams`). Nothing is kept for a client that reads slowly: once it has taken an event, the next one has
what has changed since then. A stream ends after five minutes at the latest, when the service stops, when the client is
gone or may no longer see it, and when Redis fails, so that the client reconnects and gets an error response.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import structlog
from flask import Response, request
from redis import RedisError

from uvr.api.auth.basic import current_user
from uvr.api.auth.session_cookie import current_session
from uvr.api.request_slots import EventStreams
from uvr.api.server.streams import PAUSE
from uvr.api.services import services
from uvr.redis.errors import is_transient

log = structlog.get_logger()

_RECONNECT_AFTER_MS = 2000
_KEEPALIVE_S = 10.0
_CHECK_SESSION_EVERY_S = 3.0
_MAX_S = 300.0
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

# On Linux, poll() reports that the client closed its side; on other systems only that the connection is gone.
_CLOSED_BY_CLIENT = getattr(select, "POLLRDHUP", 0)


class News(Protocol):
    """What a stream tells of. It is asked in one thread at a time."""

    look_every_s: float
    is_over: bool
    """Whether nothing more will come."""

    def events(self) -> Iterator[str]:
        """What is new since the last call, as events. May raise `redis.RedisError`."""

    def close(self) -> None:
        """End it; it is not asked afterwards."""


class Client:
    """The client's end of a stream, and the pauses of the server that serves it."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self._pause: Callable[[float], None] | None = environ.get(PAUSE)
        self._poll = select.poll()
        if "gunicorn.socket" in environ:  # otherwise it never seems to disconnect
            self._poll.register(environ["gunicorn.socket"], _CLOSED_BY_CLIENT)

    def pause(self, seconds: float) -> Iterator[str]:
        """Yield what makes the server go on after so many seconds; wait here if it cannot."""
        if self._pause:
            self._pause(seconds)
            yield ""
        else:
            self._poll.poll(seconds * 1000)

    @property
    def is_gone(self) -> bool:
        """Whether the client has closed the connection. A write would fail too, but only at a later event."""
        return bool(self._poll.poll(0))


def event_stream(news: News) -> Response:
    """The response that streams `news` to the client of this request.

    Ends the request with 429 if its user has too many streams, 503 if all users together have.
    """
    streams = services().event_streams
    with ExitStack() as at_end:
        at_end.callback(news.close)
        at_end.enter_context(streams.take(current_user().name))
        texts = _texts(news, Client(request.environ), streams, _may_see())
        response = Response(texts, headers=_HEADERS, mimetype="text/event-stream")
        response.call_on_close(at_end.pop_all().close)
    return response


def _may_see() -> Callable[[], bool]:
    """Asks whether the user of this request still exists, and is still signed in if the page has sent it."""
    sessions, users, name, session = services().sessions, services().users, current_user().name, current_session()
    if session is None:
        return lambda: users.account(name) is not None
    return _now_and_then(lambda: sessions.find(session.cookie, users.account) is not None)


def _now_and_then(asks_redis: Callable[[], bool]) -> Callable[[], bool]:
    """The answer of `asks_redis`, which is asked every few seconds; it is true at the beginning."""
    asked_at = time.monotonic()

    def answer() -> bool:
        nonlocal asked_at
        if time.monotonic() - asked_at < _CHECK_SESSION_EVERY_S:
            return True
        asked_at = time.monotonic()
        return asks_redis()

    return answer


def _texts(news: News, client: Client, streams: EventStreams, may_see: Callable[[], bool]) -> Iterator[str]:
    """The stream as text."""
    may_continue = streams.until_end()
    sent_at = time.monotonic()
    ends_at = sent_at + _MAX_S
    yield f"retry: {_RECONNECT_AFTER_MS}\n\n"
    yield from client.pause(0)  # also the first look needs no thread of the requests
    try:
        while may_continue() and not client.is_gone and time.monotonic() < ends_at and may_see():
            for event in news.events():
                sent_at = time.monotonic()
                yield event
            if news.is_over:
                return
            if time.monotonic() - sent_at >= _KEEPALIVE_S:
                sent_at = time.monotonic()
                yield ": still there\n\n"
            yield from client.pause(news.look_every_s)
    except RedisError as error:
        if is_transient(error):
            streams.end_all()  # they would wait for Redis one after the other, in one thread
        log.warning("events.broke_off", error=str(error))
