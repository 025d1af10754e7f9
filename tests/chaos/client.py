"""A client that submits songs one after another, and repeats each POST until it is accepted."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.chaos.hosts import NOT_AUDIO
from tests.chaos.plan import MODELS, Song
from tests.chaos.songs import wav
from tests.chaos.stack import Stack
from tests.support.service import AUTH

_POST_TIMEOUT_S = 10
_RETRY_S = 0.3


@dataclass
class Client:
    """Submits songs. Every POST names paths of its own for the song and the webhook, so a webhook identifies its POST.

    `asked` has the song of each POST by the name in its paths, `accepted` the names of those answered with 202 by task
    id. Only these are promises: the outcome of an `unanswered` POST is unknown, a `refused` one was answered with 503.
    """

    stack: Stack
    seed: int
    asked: dict[str, Song] = field(default_factory=dict)
    accepted: dict[str, str] = field(default_factory=dict)
    refused: int = 0
    unanswered: int = 0

    def submit(self, songs: Iterable[Song]) -> None:
        """Submit all of them, each after its pause."""
        for song in songs:
            time.sleep(song.pause_s)
            sound, attempt = wav(song, self.seed), 0
            while not self._ask(song, sound, f"{song.number}.{attempt}"):
                attempt += 1
                time.sleep(_RETRY_S)

    def _ask(self, song: Song, sound: bytes, name: str) -> bool:
        """One POST; whether it was accepted."""
        body = self._body(song, sound, name)
        self.asked[name] = song
        try:
            answer = requests.post(f"{self.stack.service.url}/generate", **body, auth=AUTH, timeout=_POST_TIMEOUT_S)
            reply = answer.json()
        except requests.RequestException:
            self.unanswered += 1
            self.stack.log_event(f"no answer to {name}")
            return False
        if answer.status_code == 503:
            self.refused += 1
            self.stack.log_event(f"refused {name}")
            return False
        assert answer.status_code == 202, answer.text
        self.accepted[reply["task_uuid"]] = name
        self.stack.log_event(f"accepted {name} as {reply['task_uuid']}")
        return True

    def _body(self, song: Song, sound: bytes, name: str) -> dict[str, Any]:
        """Arguments for `requests`: a form with the song, or JSON with its URL."""
        links, receiver = self.stack.links, self.stack.receivers[song.receiver]
        fields = {"hook_url": links[song.receiver].url(receiver.expect(name, song)), "priority": song.priority}
        if song.model != next(iter(MODELS)):
            fields["model"] = song.model
        if song.is_sent:
            return {"data": fields, "files": {"audio": (f"{name}.wav", sound if song.succeeds else NOT_AUDIO)}}
        return {"json": {**fields, "audio": links["audio"].url(self.stack.audio_host.offer(name, song, sound))}}
