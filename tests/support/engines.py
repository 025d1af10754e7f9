"""Jobs that do one thing each, for tests of the child process that runs them: the process is real, the work is not.

A `Deed` does what its name says, so that a test can lead one child through several situations.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from uvr.errors import OutOfMemoryError, PermanentError, TransientError
from uvr.separation.engine import Engine, Separation
from uvr.separation.progress import SeparationObserver

STEPS = 4


class ScriptedEngine:
    """An engine whose `provider` contains the number of warm-ups."""

    def __init__(self) -> None:
        self._warm_ups = 0

    @property
    def provider(self) -> str:
        return f"warmed up {self._warm_ups} times"

    @property
    def fingerprint(self) -> str:
        return "scripted"

    def warm_up(self) -> None:
        self._warm_ups += 1


@dataclass(frozen=True)
class Deed:
    """A job that calls the method `name`, if there is one, and then returns the facts of a separation."""

    name: str = "nothing"

    def __call__(self, engine: Engine, observer: SeparationObserver) -> Separation:
        if deed := getattr(self, self.name, None):
            deed(observer)
        return Separation({"vocals": Path("out/vocals.wav")}, 12.5, 44_100, 2, 1.0, engine.provider)

    def reports_progress(self, observer: SeparationObserver) -> None:
        for step in range(1, STEPS + 1):
            observer.report(step / STEPS)

    def takes_a_second(self, observer: SeparationObserver) -> None:
        observer.report(0.0)
        time.sleep(1)

    def never_ends(self, observer: SeparationObserver) -> None:
        observer.report(0.0)
        while True:
            time.sleep(60)

    def is_no_audio(self, _watch: SeparationObserver) -> None:
        raise PermanentError("This is not audio.", format="text")

    def asks_for_another_try(self, _watch: SeparationObserver) -> None:
        raise TransientError("The disk is full.", retry_after_s=7.0, free_bytes=0)

    def fills_the_disk(self, _watch: SeparationObserver) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def breaks(self, _watch: SeparationObserver) -> None:
        raise ZeroDivisionError("a fault of ours")

    def logs(self, _watch: SeparationObserver) -> None:
        structlog.get_logger().info("engine.says")

    def segfaults(self, _watch: SeparationObserver) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    def is_killed(self, observer: SeparationObserver) -> None:
        observer.report(0.5)
        os.kill(os.getpid(), signal.SIGKILL)

    def exits(self, _watch: SeparationObserver) -> None:
        os._exit(3)


@dataclass(frozen=True)
class Growth:
    """A job after which its engine holds `held_bytes` more memory."""

    held_bytes: int

    def __call__(self, engine: HeavyEngine, _observer: SeparationObserver) -> str:
        engine.hold(self.held_bytes)
        return "grown"


class HeavyEngine(ScriptedEngine):
    """An engine whose process holds memory, and whose fingerprint is the content of its file."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self._content = content
        self._held: list[bytes] = []

    @property
    def fingerprint(self) -> str:
        return self._content

    def hold(self, count: int) -> None:
        self._held.append(b"x" * count)


@dataclass(frozen=True)
class HeavyModel:
    """A factory of a `HeavyEngine` from `file`, which says how many MiB it holds, or how it cannot be loaded."""

    file: Path

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.file,)

    def __call__(self) -> HeavyEngine:
        content = self.file.read_text(encoding="ascii")
        if content == "broken":
            raise PermanentError(f"{self.file.name} is not a network.")
        if content == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        if content == "too large once":
            self.file.write_text("1", encoding="ascii")
            raise OutOfMemoryError("There is not enough memory.")
        engine = HeavyEngine(content)
        engine.hold(int(content) * 2**20)
        return engine


@dataclass(frozen=True)
class FailingBuild:
    """A factory whose network cannot be loaded: it raises `error`, or else its process dies by the signal `number`."""

    error: Exception | None = None
    number: int = signal.SIGKILL

    def __call__(self) -> ScriptedEngine:
        if self.error:
            raise self.error
        os.kill(os.getpid(), self.number)
        raise AssertionError("not reached")


def slow_build() -> ScriptedEngine:
    """A network that takes a second to load."""
    time.sleep(1)
    return ScriptedEngine()
