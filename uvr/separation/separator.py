"""Separation as the service runs it: each stage in a child process, so that the stages of several songs overlap.

    media child    decodes the client's file, and later encodes the stems
    network child  estimates the stems; the only one of its kind, it takes one song at a time

A file that crashes a decoder costs one attempt of its own task only: decoders and the network share no process.
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
"""Memory limit of a media child: ten times what a song needs. Without it, pictures and tags could take any amount."""


def load_media() -> None:
    """Set up a media child: limit its memory, import the decoders and encoders."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_DATA)
    if not 0 <= hard_limit < MAX_MEDIA_BYTES:  # infinity is negative
        resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEDIA_BYTES, hard_limit))
    import uvr.separation.mixture
    import uvr.separation.stem_writer  # noqa: F401


class Separator:
    """One child with the engine that `build` makes, and a media child for each song being decoded or encoded.

    May be used by several threads. `log_level` and `log_format` are those of `uvr.logs.configure`.
    """

    def __init__(self, build: EngineFactory, *, log_level: str = "info", log_format: str = "auto") -> None:
        child = partial(Child, log_level=log_level, log_format=log_format)
        self._network = child(build, "network", downloads=True)
        self._new_media_child = partial(child, load_media, "media")
        self._idle: deque[Child] = deque()

    @property
    def provider(self) -> str:
        """What the network runs on: "cpu", "cuda"; empty before the start."""
        return self._network.provider

    @property
    def fingerprint(self) -> str:
        """Of the loaded model (see `Engine.fingerprint`); changes when its child is started again with other files."""
        return self._network.fingerprint

    def start(self) -> None:
        """Block until the network is loaded and warmed up. Raises `UvrError` with the reason if that fails."""
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
            separation: Separation = run(child, Encode(mixture, (estimates,), folder, output_dir, output_format))
        return separation

    def close(self) -> None:
        """End all child processes; kill those that do not end by themselves."""
        self._network.close()
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def _media_child(self) -> Iterator[Child]:
        """The most recently used idle media child, or a new one."""
        try:
            child = self._idle.pop()
        except IndexError:
            child = self._new_media_child()
        try:
            yield child
        finally:
            self._idle.append(child)
