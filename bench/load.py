"""Load for an HTTP service of this machine: processes that keep connections open and send one request after another.

A connection sends its next request when it has the answer to its last one, so each service is loaded to the full,
whatever it can do. The load shares the processors with what it measures, and tells its own share of them.
"""

from __future__ import annotations

import base64
import itertools
import json
import multiprocessing
import os
import socket
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

PROCESSES = 2
SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Turn:
    """What a service did in its turn: all answers, how many a second, the percentiles of their times."""

    answers: int
    per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    load_share: float


@dataclass(frozen=True)
class _Load:
    """What one process of the load did, and the processor time it took for itself."""

    latencies_ms: list[float]
    elapsed_s: float
    cpu_s: float


def http_request(method: str, path: str, credentials: tuple[str, str], body: Any = None) -> bytes:
    """A request as it goes over the wire; `body` becomes JSON."""
    content = "" if body is None else json.dumps(body)
    token = base64.b64encode(":".join(credentials).encode()).decode()
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Basic {token}"]
    if content:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "", content]).encode()


def turn(pool: Any, port: int, requests: list[bytes], status: int, connections: int, seconds: float) -> Turn:
    """Send `requests` over and over for so long.

    An answer with another status than this ends the measurement, and so does a connection that the service closes.
    """
    jobs = [
        (port, requests[number::PROCESSES], status, connections // PROCESSES, seconds) for number in range(PROCESSES)
    ]
    loads: list[_Load] = pool.starmap(_send, jobs, chunksize=1)
    elapsed_s = max(load.elapsed_s for load in loads)
    latencies_ms = list(itertools.chain.from_iterable(load.latencies_ms for load in loads))
    percentiles = statistics.quantiles(latencies_ms, n=100)
    return Turn(
        answers=len(latencies_ms),
        per_s=len(latencies_ms) / elapsed_s,
        p50_ms=percentiles[49],
        p95_ms=percentiles[94],
        p99_ms=percentiles[98],
        load_share=sum(load.cpu_s for load in loads) / elapsed_s / (os.cpu_count() or 1),
    )


def _send(port: int, requests: list[bytes], status: int, connections: int, seconds: float) -> _Load:
    """One process of the load: a thread for each connection, all sending until the time is over."""
    latencies_ms: list[list[float]] = [[] for _ in range(connections)]
    cpu_before, began = time.process_time(), time.monotonic()
    with ThreadPoolExecutor(connections) as threads:
        sending = [
            threads.submit(_send_until, port, requests[number:] + requests[:number], status, began + seconds, own)
            for number, own in enumerate(latencies_ms)
        ]
    for sent in sending:
        sent.result()
    elapsed_s, cpu_s = time.monotonic() - began, time.process_time() - cpu_before
    return _Load(list(itertools.chain.from_iterable(latencies_ms)), elapsed_s, cpu_s)


def _send_until(port: int, requests: list[bytes], status: int, until: float, latencies_ms: list[float]) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for request in itertools.cycle(requests):
            sent = time.monotonic()
            if sent >= until:
                return
            connection.sendall(request)
            _read_answer(connection, b"HTTP/1.1 %d " % status)
            latencies_ms.append((time.monotonic() - sent) * 1000)


def _read_answer(connection: socket.socket, expected: bytes) -> None:
    answer = b""
    while b"\r\n\r\n" not in answer:
        part = connection.recv(65_536)
        if not part:
            raise ConnectionError("the service closed the connection")
        answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(expected):
        raise RuntimeError(f"not answered as expected: {answer!r}")
    missing = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]) - len(body)
    while missing > 0:
        missing -= len(connection.recv(65_536))
