"""The audio host and the webhook receivers: real HTTP servers that misbehave as planned for each song."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.chaos.plan import Song
from tests.support.http_server import Answer, HttpServer, Received

HOOK_TIMEOUT_S = 2.0
"""WEBHOOK_TIMEOUT_SECONDS of the stack; a receiver that hangs takes longer."""

NOT_AUDIO = b"<html>This is not audio.</html>" * 100

_HOOK_ANSWERS = {
    "broken": Answer(500),
    "busy": Answer(429, headers={"Retry-After": "1"}),
    "hangs": Answer(500, delay_s=HOOK_TIMEOUT_S + 0.5),
}


@dataclass(frozen=True)
class Call:
    """A webhook that arrived completely; `taken` if the receiver answered with success."""

    webhook_id: str
    payload: dict[str, Any]
    taken: bool


class AudioHost:
    """Serves each song at a path of its own."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server

    def offer(self, name: str, song: Song, sound: bytes) -> str:
        """Serve the song, or the error that is planned for it; returns the path."""
        path = f"/{name}.wav"
        self._server.answer(path, *[_fetch(kind, sound) for kind in song.fetches], _last_fetch(song, sound))
        return path


class Receiver:
    """Receives webhooks, those of each task at a path of its own."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server

    def expect(self, name: str, song: Song) -> str:
        """Prepare the answers to the song's webhook; returns the path."""
        path = f"/{name}"
        self._server.answer(path, *[_HOOK_ANSWERS[kind] for kind in song.hooks], Answer(204, delay_s=song.hook_s))
        return path

    def calls(self) -> Iterator[tuple[str, Call]]:
        """All webhooks with their paths, in order of arrival."""
        for request in list(self._server.requests):
            if _is_whole(request):
                yield request.path, _call(request)


def _fetch(kind: str, sound: bytes) -> Answer:
    if kind == "breaks-off":
        return Answer(body=sound[: len(sound) // 2], length=len(sound))
    if kind == "slow":
        return Answer(body=sound, drip_s=0.1, piece_bytes=len(sound) // 8 + 1)
    return Answer(503)


def _last_fetch(song: Song, sound: bytes) -> Answer:
    if song.end == "gone":
        return Answer(404, delay_s=song.fetch_s)
    return Answer(body=sound if song.succeeds else NOT_AUDIO, delay_s=song.fetch_s)


def _is_whole(request: Received) -> bool:
    return len(request.body) == int(request.headers["Content-Length"])


def _call(request: Received) -> Call:
    taken = 200 <= request.answer.status < 300
    return Call(request.headers["webhook-id"], json.loads(request.body), taken)
