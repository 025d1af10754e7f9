"""Engines that do one thing each, for tests of the child process that runs them: the process is real, the work is not.

What a `ScriptedEngine` does with a song is said by the song's name, so that one child can be led through several fates.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from uvr.errors import PermanentError, TransientError
from uvr.output_format import OutputFormat
from uvr.separation.engine import Separation

STEPS = 4


class ScriptedEngine:
    """An engine whose `provider` tells how often it was warmed up."""

    def __init__(self) -> None:
        self._warm_ups = 0

    @property
    def provider(self) -> str:
        return f"warmed up {self._warm_ups} times"

    def warm_up(self) -> None:
        self._warm_ups += 1

    def separate(
        self,
        source: Path,
        output_dir: Path,
        *,
        max_seconds: float,
        output_format: OutputFormat = OutputFormat.WAV,
        on_progress: Callable[[float], None],
        cancelled: Callable[[], bool],
    ) -> Separation:
        deed = getattr(self, source.name, None)
        if deed:
            deed(on_progress)
        stems = {"vocals": output_dir / f"vocals{output_format.suffix}"}
        return Separation(stems, max_seconds, 44_100, 2, 1.0, self.provider, output_format)

    def reports_progress(self, on_progress: Callable[[float], None]) -> None:
        for step in range(1, STEPS + 1):
            on_progress(step / STEPS)

    def takes_a_second(self, on_progress: Callable[[float], None]) -> None:
        on_progress(0.0)
        time.sleep(1)

    def never_ends(self, on_progress: Callable[[float], None]) -> None:
        on_progress(0.0)
        while True:
            time.sleep(60)

    def is_no_audio(self, _on_progress: Callable[[float], None]) -> None:
        raise PermanentError("This is not audio.", format="text")

    def asks_for_another_try(self, _on_progress: Callable[[float], None]) -> None:
        raise TransientError("The disk is full.", retry_after_s=7.0, free_bytes=0)

    def breaks(self, _on_progress: Callable[[float], None]) -> None:
        raise ZeroDivisionError("a fault of ours")

    def logs(self, _on_progress: Callable[[float], None]) -> None:
        structlog.get_logger().info("engine.says")

    def segfaults(self, _on_progress: Callable[[float], None]) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    def is_killed(self, on_progress: Callable[[float], None]) -> None:
        on_progress(0.5)
        os.kill(os.getpid(), signal.SIGKILL)

    def exits(self, _on_progress: Callable[[float], None]) -> None:
        os._exit(3)


@dataclass(frozen=True)
class FailingBuild:
    """A factory whose network cannot be loaded: `error` is raised, or else the process dies of `number`."""

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
