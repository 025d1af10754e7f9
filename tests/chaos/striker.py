"""The one who deals the blows: kills and freezes processes, breaks links."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.chaos.plan import Blow
from tests.chaos.stack import Stack
from tests.chaos.supervised import Supervised, descendants, send_signal
from tests.support.waiting import eventually

_PARENTS = {"child": "processor", "api-worker": "api"}
_VICTIM_WITHIN_S = 20.0


@dataclass
class Striker:
    """`dealt` counts the blows by what they were and what they struck: ("kill", "redis")."""

    stack: Stack
    dealt: Counter[tuple[str, str]] = field(default_factory=Counter)
    _thaws: list[threading.Timer] = field(default_factory=list)

    def deal(self, blows: Iterable[Blow]) -> None:
        """All of them, each after its pause; nothing is frozen any more afterwards."""
        for blow in blows:
            time.sleep(blow.pause_s)
            self._strike(blow)
            self.dealt[blow.trouble, blow.target] += 1
            self.stack.note(f"{blow.trouble} {blow.target}")
        for thaw in self._thaws:
            thaw.join()

    def _strike(self, blow: Blow) -> None:
        if blow.trouble == "kill":
            self._send(signal.SIGKILL, blow)
        elif blow.trouble == "freeze":
            for pid in self._send(signal.SIGSTOP, blow):
                self._thaws.append(threading.Timer(blow.lasts_s, send_signal, (pid, signal.SIGCONT)))
                self._thaws[-1].start()
        elif blow.trouble == "refuse":
            self.stack.links[blow.target].refuse(blow.lasts_s)
        elif blow.trouble == "delay":
            self.stack.links[blow.target].delay(blow.lasts_s)
        else:
            self.stack.links[blow.target].cut(reset=blow.trouble == "reset")

    def _send(self, number: int, blow: Blow) -> list[int]:
        """Send a signal to those that the blow is for, as soon as there are any; who got it."""

        def struck() -> list[int]:
            return [pid for pid in self._victims(blow) if send_signal(pid, number)]

        return eventually(struck, f"a running {blow.target} to send signal {number}", _VICTIM_WITHIN_S, every_s=0.05)

    def _victims(self, blow: Blow) -> list[int]:
        if blow.target == "all":
            return _running(self.stack.processes.values())
        if parent := _PARENTS.get(blow.target):
            pids = [child for pid in _running(self.stack.kind(parent)) for child in descendants(pid)]
        else:
            pids = _running(self.stack.kind(blow.target))
        return [pids[int(blow.choice * len(pids))]] if pids else []


def _running(processes: Iterable[Supervised]) -> list[int]:
    return [process.pid for process in processes if process.pid is not None]
