"""A request and its response, which a thread produces only as far as the client takes it.

Whenever the kernel does not take what was written so far, and there is more to come, the thread leaves the exchange;
once the client has taken that, any thread goes on with it. So a response of any length holds one piece of itself in
memory, and a client that does not read holds no thread. Nor does a response that pauses (`streams.py`).
"""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextvars import copy_context
from http import HTTPStatus
from typing import Any, Protocol

import structlog
from gunicorn.http.errors import ParseException
from gunicorn.http.wsgi import FileWrapper, Response, create

from uvr.api.server.connections import Connection
from uvr.api.server.incoming import SMALL_BODY_BYTES
from uvr.api.server.malformed_requests import error_response, status_of
from uvr.api.server.streams import PAUSE

log = structlog.get_logger()

_CLIENT_IS_GONE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN})


class Server(Protocol):
    """What an exchange needs of the worker."""

    cfg: Any
    wsgi: Any

    def may_keep_alive(self) -> bool:
        """Count a request that begins. Returns whether its connection may stay open."""


class Exchange:
    """One request of a connection. Threads take turns in it, one at a time."""

    def __init__(self, server: Server, connection: Connection) -> None:
        self._server = server
        self._connection = connection
        self._response: Response | None = None
        # The application finds its context variables again, whichever thread goes on.
        self._context = copy_context()
        self._steps = self._run()
        self.pause_s: float | None = None
        """How long the response pauses before its next piece, None if it does not."""
        self.is_over = False
        self.keeps_connection = False

    def advance(self) -> None:
        """Go on until it is over, pauses, or the client has to take something. Runs in a thread; raises nothing."""
        self.pause_s = None
        try:
            self._context.run(next, self._steps)
        except StopIteration:
            self.is_over = True

    def abort(self) -> None:
        """End it, because the connection is broken. Runs in a thread."""
        self.is_over = True
        try:
            self._context.run(self._steps.close)
        except Exception:
            log.exception("server.request_broke")

    def _run(self) -> Generator[None, None, None]:
        connection = self._connection
        try:
            request = next(connection.parser, None)
            if request is not None:
                yield from self._answer(request)
        except OSError as error:
            connection.outbox.discard()
            if error.errno not in _CLIENT_IS_GONE:
                log.warning("server.connection_failed", error=str(error))
        except Exception as error:
            self._refuse(error)

    def _answer(self, request: Any) -> Generator[None, None, None]:
        server, outbox = self._server, self._connection.outbox
        sock: Any = outbox
        server.cfg.pre_request(server, request)
        response, environ = create(request, sock, self._connection.peer, self._connection.server, server.cfg)
        self._response = response
        environ["wsgi.multithread"] = True
        environ[PAUSE] = self._pause
        if not server.may_keep_alive():
            response.force_close()
        body = server.wsgi(environ, response.start_response)
        try:
            if not (isinstance(body, FileWrapper) and response.sendfile(body)):
                for piece in body:
                    response.write(piece)
                    is_taken = outbox.flush() or _is_complete(response)
                    if not is_taken or self.pause_s is not None:
                        yield
            response.close()
        finally:
            if hasattr(body, "close"):
                body.close()
            server.cfg.post_request(server, request, environ, response)
        outbox.flush()
        self.keeps_connection = not response.should_close() and self._skip_rest_of_body()

    def _pause(self, seconds: float) -> None:
        """Go on with the response only after so many seconds. It calls this before it yields an empty piece."""
        self.pause_s = seconds

    def _skip_rest_of_body(self) -> bool:
        """Whether the next request can be found: not if the rest of an unread body would have to be waited for."""
        self._connection.reader.end()
        try:
            return bool(self._connection.parser.finish_body(max_bytes=SMALL_BODY_BYTES + 1))
        except (OSError, ParseException):
            return False

    def _refuse(self, error: Exception) -> None:
        """Respond to a malformed request, or to an error outside of the application."""
        status = status_of(error)
        if status is HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("server.request_broke", exc_info=error)
        else:
            log.warning("server.request_invalid", client=str(self._connection.peer), error=str(error))
        if self._response is not None and self._response.headers_sent:
            self._connection.outbox.break_off()  # a second response would look like a part of the first one
        else:
            self._connection.outbox.sendall(error_response(status))


def _is_complete(response: Response) -> bool:
    return response.response_length is not None and response.sent >= response.response_length
