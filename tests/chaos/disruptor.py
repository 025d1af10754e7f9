"""Carries out the planned disruptions: kills and freezes processes, breaks links."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.chaos.plan import Disruption
from tests.chaos.stack import Stack
from tests.chaos.supervised import Supervised, descendants, send_signal
from tests.support.waiting import eventually

_PARENTS = {"child": "processor", "api-worker": "api"}
_TARGET_WAIT_S = 20.0


@dataclass
class Disruptor:
    """Carries out disruptions. `counts` has their number by kind and target: ("kill", "redis")."""

    stack: Stack
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _thaws: list[threading.Timer] = field(default_factory=list)

    def run(self, disruptions: Iterable[Disruption]) -> None:
        """Carry out all of them, each after its pause. When it returns, nothing is frozen any more."""
        for disruption in disruptions:
            time.sleep(disruption.pause_s)
            self._disrupt(disruption)
            self.counts[disruption.kind, disruption.target] += 1
            self.stack.log_event(f"{disruption.kind} {disruption.target}")
        for thaw in self._thaws:
            thaw.join()

    def _disrupt(self, disruption: Disruption) -> None:
        if disruption.kind == "kill":
            self._send(signal.SIGKILL, disruption)
        elif disruption.kind == "freeze":
            for pid in self._send(signal.SIGSTOP, disruption):
                self._thaws.append(threading.Timer(disruption.lasts_s, send_signal, (pid, signal.SIGCONT)))
                self._thaws[-1].start()
        elif disruption.kind == "refuse":
            self.stack.links[disruption.target].refuse(disruption.lasts_s)
        elif disruption.kind == "delay":
            self.stack.links[disruption.target].delay(disruption.lasts_s)
        else:
            self.stack.links[disruption.target].cut(reset=disruption.kind == "reset")

    def _send(self, number: int, disruption: Disruption) -> list[int]:
        """Send a signal to the target as soon as it runs; the process ids that received it."""

        def signalled() -> list[int]:
            return [pid for pid in self._target_pids(disruption) if send_signal(pid, number)]

        return eventually(
            signalled, f"a running {disruption.target} to send signal {number}", _TARGET_WAIT_S, every_s=0.05
        )

    def _target_pids(self, disruption: Disruption) -> list[int]:
        if disruption.target == "all":
            return _running(self.stack.processes.values())
        if parent := _PARENTS.get(disruption.target):
            pids = [child for pid in _running(self.stack.kind(parent)) for child in descendants(pid)]
        else:
            pids = _running(self.stack.kind(disruption.target))
        return [pids[int(disruption.choice * len(pids))]] if pids else []


def _running(processes: Iterable[Supervised]) -> list[int]:
    return [process.pid for process in processes if process.pid is not None]
