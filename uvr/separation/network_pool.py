"""The networks of a processor: one warm child per model, as many as fit into the memory that they may have together.

A network that was used lately needs no loading when its model is asked for again. The least recently used ones are
ended when the memory of those that are loaded and of the one to run would pass the limit. A network that is larger
than the limit runs alone. Only one network works at a time, and none is loaded while another one works, because the
caller lets one thread into the pool at a time.

What a network needs is measured: after it was loaded, and after each song. Before that it is estimated from the sizes
of its files. A child that died while it worked may have needed more than there was, so its next one runs alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import structlog

from uvr.errors import CrashError, OutOfMemoryError, PermanentError
from uvr.metrics.definitions import MODEL_LOAD_SECONDS, MODELS_ENDED
from uvr.models.files import Stamp, stamp_of
from uvr.separation.child_main import EngineFactory
from uvr.separation.child_process import Child
from uvr.separation.jobs import Job
from uvr.separation.memory import memory_of

log = structlog.get_logger()

_RUNTIME_BYTES = 400 * 2**20
_BYTES_PER_FILE_BYTE = 4
"""The estimate for a network that was never loaded: its runtime, and its weights a few times over."""
_REFUSED_FOR_S = 60.0
"""For how long a model that cannot be loaded is not tried again, unless one of its files changes: loading it would end
other networks for each of its tasks."""


@dataclass(frozen=True)
class NetworkFacts:
    """What is known about the network of one model."""

    is_loaded: bool = False
    provider: str = ""
    """What it ran on: "cpu", "cuda"; "" before it was loaded."""
    fingerprint: str = ""
    """That of the engine that was loaded last (`Engine.fingerprint`)."""
    memory_bytes: int | None = None
    """The highest memory of its latest child; None before it was measured."""
    load_s: float | None = None
    """How long it took to load the last time."""


@dataclass(frozen=True)
class NetworkRun:
    """The result of a job, and which network gave it."""

    result: Any
    fingerprint: str
    load_s: float
    """How long the job waited for its network to be loaded; 0 for one that was warm."""


@dataclass
class _Network:
    """One model: its child, which may have ended, and what was learned about it."""

    name: str
    build: EngineFactory
    child: Child
    needs_bytes: int
    """What it is expected to have while it works."""
    has_bytes: int = 0
    """What its child has while it is idle."""
    stamp: Stamp = ()
    """Of the files that were loaded last."""
    facts: NetworkFacts = NetworkFacts()
    refusal: PermanentError | None = None
    refused_at: float = 0.0

    def raise_refusal(self) -> None:
        """Raise the error of the last try to load it, if that was a moment ago and its files are the same."""
        if self.refusal and time.monotonic() - self.refused_at < _REFUSED_FOR_S and self.stamp == _stamp(self.build):
            raise PermanentError(self.refusal.message, **self.refusal.facts)

    def measure(self) -> None:
        """Learn the memory of the child. Keeps what is known if the system does not tell it."""
        pid = self.child.pid
        memory = memory_of(pid) if pid else None
        if memory:
            self.needs_bytes = memory.max_bytes
            self.facts = replace(self.facts, memory_bytes=memory.max_bytes)
        self.has_bytes = memory.now_bytes if memory else self.needs_bytes if pid else 0
        self.facts = replace(self.facts, is_loaded=pid is not None)

    def end(self) -> None:
        """End the child, if there is one."""
        self.child.close()
        self.facts = replace(self.facts, is_loaded=False)


class NetworkPool:
    """Warm children by model, made by `new_child`, with at most `max_bytes` of memory together.

    `load` and `run` are for one thread at a time. Everything else may be used by any thread at any time.
    """

    def __init__(self, new_child: Callable[[EngineFactory], Child], max_bytes: int) -> None:
        self._new_child = new_child
        self._max_bytes = max_bytes
        self._networks: dict[str, _Network] = {}
        """Least recently used first."""

    def load(self, name: str, build: EngineFactory, *, timeout_s: float, cancelled: Callable[[], bool]) -> NetworkFacts:
        """Block until the network of the model `name` is loaded and warmed up; others may be ended for it.

        Raises the errors of `Child.start`.
        """
        network = self._used(name, build)
        if network.child.pid is None:
            with self._learning(network):
                self._load(network, timeout_s, cancelled)
        return network.facts

    def run(
        self,
        name: str,
        build: EngineFactory,
        job: Job,
        *,
        timeout_s: float,
        on_progress: Callable[[float], None],
        cancelled: Callable[[], bool],
    ) -> NetworkRun:
        """The result of `job` in the network of the model `name`, which is loaded if it is not.

        Raises the errors of `Child.run`. Loading and running may take `timeout_s` each.
        """
        network = self._used(name, build)
        with self._learning(network):
            is_warm = network.child.pid is not None
            if not is_warm:
                self._load(network, timeout_s, cancelled)
            result = network.child.run(job, timeout_s=timeout_s, on_progress=on_progress, cancelled=cancelled)
        return NetworkRun(result, network.child.fingerprint, 0.0 if is_warm else network.facts.load_s or 0.0)

    def facts(self, name: str) -> NetworkFacts:
        """What is known about the network of the model `name`."""
        network = self._networks.get(name)
        return network.facts if network else NetworkFacts()

    def fingerprint(self, name: str) -> str:
        """Of the network that would run a song of this model now; "" if that is known only once it is loaded."""
        network = self._networks.get(name)
        if network is None:
            return ""
        is_known = network.facts.is_loaded or network.stamp == _stamp(network.build)
        return network.facts.fingerprint if is_known else ""

    @property
    def loaded(self) -> list[str]:
        """The models whose networks are loaded, the one that was used last at the end."""
        return [network.name for network in list(self._networks.values()) if network.facts.is_loaded]

    @property
    def switching_costs_s(self) -> float:
        """How long it takes to load the slowest network that had to be ended; 0 while all of them fit."""
        ended = [network for network in list(self._networks.values()) if not network.facts.is_loaded]
        return max((network.facts.load_s or 0.0 for network in ended), default=0.0)

    def close(self) -> None:
        """End all children."""
        for network in self._networks.values():
            network.end()

    def _used(self, name: str, build: EngineFactory) -> _Network:
        """The network of a model, now the most recently used one, after room was made for it.

        Raises `PermanentError` if it could not be loaded a moment ago.
        """
        network = self._networks.get(name)
        if network and network.build != build:
            network.end()
            network = None
        network = network or _Network(name, build, self._new_child(build), _estimated_bytes(build))
        network.raise_refusal()
        self._networks.pop(name, None)
        self._networks[name] = network
        self._make_room(network, network.needs_bytes)
        return network

    def _load(self, network: _Network, timeout_s: float, cancelled: Callable[[], bool]) -> None:
        started, network.stamp, network.refusal = time.monotonic(), _stamp(network.build), None
        try:
            network.child.start(timeout_s=timeout_s, cancelled=cancelled)
        except PermanentError as error:
            network.refusal, network.refused_at = error, time.monotonic()
            raise
        except OutOfMemoryError:
            if not (others := self._others(network)):
                raise
            self._end(others)
            network.child.start(timeout_s=timeout_s, cancelled=cancelled)
        load_s, child = time.monotonic() - started, network.child
        network.facts = replace(
            network.facts, provider=child.provider, fingerprint=child.fingerprint, load_s=round(load_s, 3)
        )
        network.measure()
        log.info("model.loaded", model=network.name, load_s=round(load_s, 3), memory_bytes=network.facts.memory_bytes)
        MODEL_LOAD_SECONDS.observe(load_s, model=network.name)
        self._make_room(network, network.needs_bytes)

    @contextmanager
    def _learning(self, network: _Network) -> Iterator[None]:
        """Learn from the block what `network` needs, and end others if it has grown."""
        try:
            yield
        except CrashError:
            network.needs_bytes = max(network.needs_bytes, self._max_bytes)
            raise
        finally:
            network.measure()
            self._make_room(network, network.has_bytes)

    def _make_room(self, network: _Network, needed_bytes: int) -> None:
        """End the least recently used of the other networks, so that `network` can have `needed_bytes`."""
        others = self._others(network)
        names = networks_to_end({other.name: other.has_bytes for other in others}, needed_bytes, self._max_bytes)
        self._end(other for other in others if other.name in names)

    def _others(self, network: _Network) -> list[_Network]:
        return [other for other in self._networks.values() if other is not network and other.facts.is_loaded]

    def _end(self, networks: Iterable[_Network]) -> None:
        for network in networks:
            network.end()
            log.info("model.ended", model=network.name, freed_bytes=network.has_bytes)
            MODELS_ENDED.add(model=network.name)


def networks_to_end(idle: Mapping[str, int], needed_bytes: int, max_bytes: int) -> list[str]:
    """Which idle networks are ended for one that needs `needed_bytes`, so that together they stay below `max_bytes`.

    `idle` has their sizes in bytes, least recently used first; these go first, and no more than necessary. If it is
    too large in any case, all of them go.
    """
    ended, excess_bytes = [], needed_bytes + sum(idle.values()) - max_bytes
    for name, size_bytes in idle.items():
        if excess_bytes <= 0:
            break
        ended.append(name)
        excess_bytes -= size_bytes
    return ended


def _stamp(build: EngineFactory) -> Stamp:
    """The stamp of the files that an engine is made from, as far as its factory names them."""
    return stamp_of(getattr(build, "files", ()))


def _estimated_bytes(build: EngineFactory) -> int:
    return _RUNTIME_BYTES + _BYTES_PER_FILE_BYTE * sum(size for _, size, _ in _stamp(build))
