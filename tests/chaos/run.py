"""One run from its seed to its figures."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import requests
from botocore.exceptions import BotoCoreError, ClientError
from redis import RedisError

from tests.chaos.checks import Fault, Kind, Promises, faults, faults_of_stems, repeated
from tests.chaos.client import Client
from tests.chaos.disruptor import Disruptor
from tests.chaos.evidence import Evidence, collect
from tests.chaos.plan import LINK_DISRUPTIONS, Plan, make_plan
from tests.chaos.stack import COMPENSATE, Stack, running_stack
from tests.chaos.supervised import with_environment
from tests.support.waiting import eventually

_SETTLE_S = 90.0
_SETTLE_PER_TASK_S = 1.0
_LAST_CHILDREN_S = 5.0


@dataclass(frozen=True)
class Outcome:
    """The result of a run."""

    seed: int
    client: Client
    disruptions: Mapping[tuple[str, str], int]
    evidence: Evidence
    faults: list[Fault]
    storm_s: float
    settle_s: float

    def figures(self) -> str:
        """The figures of the run in one line."""
        found = Counter(fault.kind for fault in self.faults)
        restarted = sum(int(record["attempt"]) > 1 for record in self.evidence.records.values())
        return "; ".join(
            [
                f"seed {self.seed}",
                f"{len(self.client.accepted)} tasks{self._by_model()}, {restarted} started more than once",
                f"{self.client.unanswered} POSTs unanswered, {self.client.refused} refused",
                self._counted("kills", "kill"),
                self._counted("freezes", "freeze"),
                self._counted("broken links", *LINK_DISRUPTIONS),
                *(f"{kind} {found[kind]}" for kind in Kind),
                f"duplicated webhooks {repeated(self.evidence)}",
                f"{self.storm_s:.0f} s of storm, settled after {self.settle_s:.0f} s",
            ]
        )

    def _by_model(self) -> str:
        counts = Counter(self.client.asked[name].model for name in self.client.accepted.values())
        return f" ({', '.join(f'{model} {count}' for model, count in sorted(counts.items()))})"

    def report(self) -> str:
        """Every fault, with the record of its task if it has one."""
        lines = []
        for fault in self.faults:
            lines.append(f"{fault.kind}: {fault.what}: {fault.message}")
            if record := self.evidence.records.get(fault.what):
                lines.append(f"    {dict(record)}")
        return "\n".join(lines)

    def _counted(self, name: str, *kinds: str) -> str:
        by_target: Counter[str] = Counter()
        for (kind, target), count in self.disruptions.items():
            by_target[target] += count * (kind in kinds)
        split = ", ".join(f"{target} {count}" for target, count in sorted((+by_target).items()))
        return f"{by_target.total()} {name} ({split})"


def run(folder: Path, seed: int, tasks: int, kills: int) -> Outcome:
    """One run, with all files in `folder` and the logs in `folder`/logs."""
    plan = make_plan(seed, tasks, kills)
    with running_stack(folder, Random(f"{seed} pauses")) as stack:
        client, disruptor = Client(stack, seed), Disruptor(stack)
        started = time.monotonic()
        _storm(client, disruptor, plan)
        storm_ended = time.monotonic()
        stack.log_event("the storm is over")
        promises = Promises(client.asked, client.accepted)
        evidence, found = _settled(stack, promises, _SETTLE_S + tasks * _SETTLE_PER_TASK_S)
        settled = time.monotonic()
        stack.links["s3"].latency_s = 0
        found += faults_of_stems(
            promises, evidence, lambda url: requests.get(url, timeout=30).content, seed, COMPENSATE
        )
        stack.stop_service()
        found += _survivors(stack)
    return Outcome(seed, client, disruptor.counts, evidence, found, storm_ended - started, settled - storm_ended)


def _storm(client: Client, disruptor: Disruptor, plan: Plan) -> None:
    """Submit all songs while all disruptions happen."""
    with ThreadPoolExecutor(2) as pool:
        works = [pool.submit(client.submit, plan.songs), pool.submit(disruptor.run, plan.disruptions)]
        for work in works:
            work.result()


def _settled(stack: Stack, promises: Promises, within_s: float) -> tuple[Evidence, list[Fault]]:
    """The evidence and the faults in it, once all work is done or `within_s` has passed."""

    def is_settled() -> bool:
        with suppress(RedisError, BotoCoreError, ClientError):
            found = faults(promises, collect(stack))
            return not any(fault.kind in (Kind.STUCK, Kind.LEFT_OVER) for fault in found)
        return False

    with suppress(AssertionError):
        eventually(is_settled, "all work is done", within_s, every_s=1)
    evidence = collect(stack)
    return evidence, faults(promises, evidence)


def _survivors(stack: Stack) -> list[Fault]:
    """Processes that outlive the service; children get a moment to notice that their parent is gone."""
    with suppress(AssertionError):
        eventually(lambda: not with_environment(stack.mark), "the last child ends", _LAST_CHILDREN_S, every_s=0.1)
    pids = with_environment(stack.mark)
    return [Fault(Kind.LEFT_OVER, str(pid), "a process that outlives the service") for pid in pids]
