"""Separation as the service runs it: each stage in a child process, so that one song's can overlap another's.

    media child    decodes the client's file, and encodes the stems
    network child  finds the stems; there is one, and it takes one song at a time

A file that breaks a decoder costs its own song an attempt and no other, because decoders and network share no process.
"""

from __future__ import annotations

import resource
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path

from uvr.audio.output_format import OutputFormat
from uvr.separation.child_main import EngineFactory
from uvr.separation.child_process import Child
from uvr.separation.engine import Separation
from uvr.separation.jobs import Decode, Encode, Separate

MAX_MEDIA_BYTES = 2**30
"""What a media child may take: ten times what songs of any length need, but pictures and tags can be of any size."""


def load_media() -> None:
    """What a media child does at its start: give up memory that no song needs, load the decoders and encoders."""
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if not 0 <= most < MAX_MEDIA_BYTES:  # infinity is negative
        resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEDIA_BYTES, most))
    import uvr.separation.mixture
    import uvr.separation.stem_writer  # noqa: F401


class Separator:
    """The engine that `build` makes, and as many media children as there are songs decoded or encoded at once.

    May be used by several threads. `log_level` and `log_format` are those of `uvr.logs.configure`.
    """

    def __init__(self, build: EngineFactory, *, log_level: str = "info", log_format: str = "auto") -> None:
        child = partial(Child, log_level=log_level, log_format=log_format)
        self._network = child(build, "network")
        self._new_media_child = partial(child, load_media, "media")
        self._idle: deque[Child] = deque()

    @property
    def provider(self) -> str:
        """What the network really runs on: "cpu", "cuda"; empty before the start."""
        return self._network.provider

    def start(self) -> None:
        """Block until the network is loaded and warmed up; raises `UvrError` with the reason if that fails."""
        self._network.start()
        with self._media_child() as child:
            child.start()

    def separate(
        self,
        source: Path,
        folder: Path,
        output_dir: Path,
        *,
        max_seconds: float,
        timeout_s: float,
        output_format: OutputFormat = OutputFormat.WAV,
        on_progress: Callable[[float], None],
        cancelled: Callable[[], bool],
        inference_slot: AbstractContextManager[object] | None = None,
    ) -> Separation:
        """Split the file `source` into stems in `output_dir`; `folder` is for temporary files.

        Decodes the song at once, runs the network inside `inference_slot`, and encodes the stems afterwards. The slot
        must admit one thread at a time; with None the caller makes sure of that. No stage may take longer than
        `timeout_s`. Raises the errors of the stages and of `Child.run`; `output_dir` then has no stems.
        """
        run = partial(Child.run, timeout_s=timeout_s, on_progress=on_progress, cancelled=cancelled)
        with self._media_child() as child:
            mixture = run(child, Decode(source, folder, max_seconds))
        with inference_slot or nullcontext():
            estimates = run(self._network, Separate(mixture, folder))
        with self._media_child() as child:
            separation: Separation = run(child, Encode(mixture, estimates, folder, output_dir, output_format))
        return separation

    def close(self) -> None:
        """End all children, by force if they do not end by themselves."""
        self._network.close()
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def _media_child(self) -> Iterator[Child]:
        """The media child used last among those that are free, or a new one."""
        try:
            child = self._idle.pop()
        except IndexError:
            child = self._new_media_child()
        try:
            yield child
        finally:
            self._idle.append(child)
