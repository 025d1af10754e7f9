"""The parts of gunicorn that the server is built on and gunicorn does not document; that is why it is pinned.

If a new version fails here, compare its `workers/gthread.py` with `uvr/api/server/worker.py` and `exchange.py`.
"""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import gunicorn
import pytest
from gunicorn import util
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.http import errors
from gunicorn.http.parser import RequestParser
from gunicorn.http.unreader import SocketUnreader
from gunicorn.http.wsgi import FileWrapper, Response, create
from gunicorn.workers.base import Worker

from config import ROOT


def test_gunicorn_is_pinned_to_the_version_in_use() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"gunicorn=={gunicorn.__version__}" in project["dependencies"]


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (create, ["req", "sock", "client", "server", "cfg"]),
        (RequestParser, ["cfg", "source", "source_addr"]),
        (RequestParser.finish_body, ["self", "deadline", "max_bytes"]),
        (SocketUnreader.chunk, ["self", "size_hint"]),
        (SocketUnreader.unread, ["self", "data"]),
        (SocketUnreader.take_buffered, ["self"]),
        (Response.sendfile, ["self", "respiter"]),
        (Response.write, ["self", "arg"]),
        (Response.close, ["self"]),
        (Response.force_close, ["self"]),
        (Response.should_close, ["self"]),
        (Response.start_response, ["self", "status", "headers"]),
        (Worker.init_process, ["self"]),
        (Worker.notify, ["self"]),
        (Worker.handle_exit, ["self", "sig", "frame"]),
    ],
)
def test_these_functions_take_these_parameters(function: Callable[..., Any], parameters: list[str]) -> None:
    assert list(inspect.signature(function).parameters)[: len(parameters)] == parameters


def test_a_response_writes_with_sendall_and_sendfile_of_its_socket() -> None:
    assert "sock.sendall(data)" in inspect.getsource(util.write)
    assert "self.sock.sendfile(respiter.filelike, offset=offset, count=nbytes)" in inspect.getsource(Response.sendfile)
    assert {"headers_sent", "response_length", "sent"} <= set(Response(None, None, Config()).__dict__)  # type: ignore[arg-type]
    assert FileWrapper(stream := BytesIO()).filelike is stream


def test_these_errors_exist() -> None:
    known = ["LimitRequestLine", "LimitRequestHeaders", "ExpectationFailed", "UnsupportedTransferCoding"]
    assert all(issubclass(getattr(errors, name), errors.ParseException) for name in known)


def test_the_master_queues_its_signals_and_a_worker_has_this_queue_until_it_sets_up_its_own() -> None:
    assert "self.SIG_QUEUE.put_nowait(sig)" in inspect.getsource(Arbiter.signal)
    spawn = inspect.getsource(Arbiter.spawn_worker)
    assert spawn.index("os.fork()") < spawn.index("self.cfg.post_fork(self, worker)") < spawn.index("init_process()")
