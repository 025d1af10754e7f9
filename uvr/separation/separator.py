"""Separation as the service runs it: each stage in a child process, so that the stages of several songs overlap.

    media child    decodes the client's file, and later encodes the stems
    network child  estimates the stems; there is one for each model that is loaded (`uvr.separation.network_pool`), and
                   only one of them works at a time

A file that crashes a decoder costs one attempt of its own task only: decoders and the network share no process. A model
that cannot be loaded costs its own tasks only.
"""

from __future__ import annotations

import math
import resource
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from uvr.audio.output_format import OutputFormat
from uvr.errors import PermanentError
from uvr.models.catalogue import without_suffix
from uvr.separation.child_main import EngineFactory
from uvr.separation.child_process import Child
from uvr.separation.engine import Separation
from uvr.separation.jobs import Decode, Decoded, Encode, Separate
from uvr.separation.model_library import ModelLibrary, ModelProgress, load_downloader
from uvr.separation.network_pool import NetworkFacts, NetworkPool, NetworkRun
from uvr.separation.progress import DECODED, SEPARATED, never_cancelled

MAX_MEDIA_BYTES = 2**30
"""Memory limit of a media child: ten times what a song needs. Without it, pictures and tags could take any amount."""


def load_media() -> None:
    """Set up a media child: limit its memory, import the decoders and encoders."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_DATA)
    if not 0 <= hard_limit < MAX_MEDIA_BYTES:  # infinity is negative
        resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEDIA_BYTES, hard_limit))
    import uvr.separation.mixture
    import uvr.separation.stem_writer  # noqa: F401


def ignore_audio_s(_audio_s: float) -> None:
    """The `on_decoded` of callers that do not need the song's length."""


class Separator:
    """The network of `build`, those of `library`, and a media child for each song being decoded or encoded.

    `name` is the name of the model that `build` loads, which separates the songs for which no model is named. The
    networks that are loaded at the same time have at most `max_model_bytes` of memory together, if that is set.

    May be used by several threads. `log_level` and `log_format` are those of `uvr.logs.configure`.
    """

    def __init__(
        self,
        build: EngineFactory,
        *,
        name: str = "",
        library: ModelLibrary | None = None,
        max_model_bytes: int = sys.maxsize,
        log_level: str = "info",
        log_format: str = "auto",
    ) -> None:
        child = partial(Child, log_level=log_level, log_format=log_format)
        self._build = build
        self.name = name
        """Of the default model."""
        self._library = library
        self._networks = NetworkPool(partial(child, name="network", downloads=True), max_model_bytes)
        self._new_downloader = partial(
            child, load_downloader, "download", downloads=True, work="download of the model's files"
        )
        self._new_media_child = partial(child, load_media, "media")
        self._idle: deque[Child] = deque()

    @property
    def provider(self) -> str:
        """What the network of the default model runs on: "cpu", "cuda"; empty before the start."""
        return self._networks.facts(self.name).provider

    @property
    def loaded_models(self) -> list[str]:
        """The models whose networks are loaded; the one that was used last is the last."""
        return self._networks.loaded

    @property
    def loaded_model(self) -> str:
        """The model that was used last; "" if none is loaded."""
        return (self.loaded_models or [""])[-1]

    @property
    def switching_costs_s(self) -> float:
        """How long it takes to load a network that had to be ended for another one; 0 while all of them fit."""
        return self._networks.switching_costs_s

    def facts(self, model: str) -> NetworkFacts:
        """What is known about the network of a model."""
        return self._networks.facts(model)

    def fingerprint(self, models: Sequence[str] = ()) -> str:
        """Of the networks that would separate a song now (see `Engine.fingerprint`); "" if one was never loaded."""
        return _joined(map(self._networks.fingerprint, self._names_of(models)))

    def start(self) -> None:
        """Block until the default network is loaded and warmed up. Raises `UvrError` with the reason if that fails."""
        self._networks.load(self.name, self._build, timeout_s=math.inf, cancelled=never_cancelled)
        with self._media_child() as child:
            child.start()

    def missing(self, models: Sequence[str]) -> list[str]:
        """Those of `models` whose files are not here."""
        library = self._library
        return [model for model in self._names_of(models) if library and model != self.name and not library.has(model)]

    def download(
        self, models: Sequence[str], *, timeout_s: float, on_progress: ModelProgress, cancelled: Callable[[], bool]
    ) -> None:
        """Download those of `models` that are not here, each in at most `timeout_s`; uses no network child.

        Raises `PermanentError` if a model may not be downloaded or cannot be run, and the errors of the download.
        """
        for model in self._names_of(models):
            job = self._library.download_of(model) if self._library and model != self.name else None
            if job:
                with closing(self._new_downloader()) as child:
                    child.run(job, timeout_s=timeout_s, on_progress=partial(on_progress, model), cancelled=cancelled)

    def separate(
        self,
        source: Path,
        folder: Path,
        output_dir: Path,
        *,
        max_seconds: float,
        timeout_s: float,
        timeout_per_audio_s: float = 0.0,
        output_format: OutputFormat = OutputFormat.WAV,
        models: Sequence[str] = (),
        wanted_stems: Sequence[str] = (),
        peaks_dir: Path | None = None,
        on_progress: Callable[[float], None],
        on_decoded: Callable[[float], None] = ignore_audio_s,
        cancelled: Callable[[], bool],
        inference_slot: AbstractContextManager[object] | None = None,
    ) -> Separation:
        """Split the file `source` into stems in `output_dir`; `folder` is for temporary files.

        Decodes the song at once, calls `on_decoded` with its length in seconds, runs the networks of `models` (() is
        the default) one after the other inside `inference_slot`, and writes the stems afterwards: the average of what
        the networks estimate, and only `wanted_stems` if any are named; their peaks go to `peaks_dir`. The slot must
        admit one thread at a time; with None the caller makes sure of that.

        No stage may take longer than `timeout_s`, but each network may take `timeout_per_audio_s` for each second of
        the song if that is more (see `network_limit_s`). Raises the errors of the stages and of `Child.run`;
        `output_dir` then has no stems.
        """
        run = partial(Child.run, timeout_s=timeout_s, on_progress=on_progress, cancelled=cancelled)
        engines = [(model, self._engine_factory(model)) for model in self._names_of(models)]
        with self._media_child() as child:
            decoded: Decoded = run(child, Decode(source, folder, max_seconds))
        on_decoded(decoded.audio_s)
        runs: list[NetworkRun] = []
        with inference_slot or nullcontext():
            for number, (model, engine) in enumerate(engines):
                job = Separate(decoded.mixture, _made(folder / f"network-{number}"))
                progress = share_of_network(number, len(engines), on_progress)
                limit_s = network_limit_s(timeout_s, timeout_per_audio_s, decoded.audio_s, engine)
                runs.append(
                    self._networks.run(model, engine, job, timeout_s=limit_s, on_progress=progress, cancelled=cancelled)
                )
        estimates = tuple(each.result for each in runs)
        encode = Encode(decoded.mixture, estimates, folder, output_dir, output_format, tuple(wanted_stems), peaks_dir)
        with self._media_child() as child:
            separation: Separation = run(child, encode)
        fingerprint, load_s = _joined(each.fingerprint for each in runs), sum(each.load_s for each in runs)
        return replace(separation, fingerprint=fingerprint, load_s=load_s)

    def close(self) -> None:
        """End all child processes; kill those that do not end by themselves."""
        self._networks.close()
        while self._idle:
            self._idle.pop().close()

    def _names_of(self, models: Sequence[str]) -> list[str]:
        """The names of `models` here, () being the default one.

        Before a processor has announced its name, tasks may name an operator's own default model without its suffix.
        """
        default = without_suffix(self.name, ".onnx")
        return [self.name if without_suffix(model, ".onnx") == default else model for model in models] or [self.name]

    def _engine_factory(self, model: str) -> EngineFactory:
        if model == self.name:
            return self._build
        if self._library is None:
            raise PermanentError(f"There is no model {model} here.")
        return self._library.engine_factory(model)

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


def network_limit_s(floor_s: float, per_audio_s: float, audio_s: float, engine: object = None) -> float:
    """How long one network may work on a song of `audio_s`: `per_audio_s` for each second, and at least `floor_s`.

    A RoFormer has this time for each of the several chunks that cover every second.
    """
    return max(floor_s, per_audio_s * audio_s * getattr(engine, "times_through_network", 1))


def share_of_network(number: int, count: int, on_progress: Callable[[float], None]) -> Callable[[float], None]:
    """`on_progress` for the network `number` of `count`, which reports as if it were the only one."""

    def on_own_progress(share: float) -> None:
        own = (share - DECODED) / (SEPARATED - DECODED)
        on_progress(DECODED + (SEPARATED - DECODED) * (number + own) / count)

    return on_progress if count == 1 else on_own_progress


def _joined(fingerprints: Iterable[str]) -> str:
    """The fingerprint of several networks; "" if one is not known."""
    known = list(fingerprints)
    return "+".join(known) if all(known) else ""


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
