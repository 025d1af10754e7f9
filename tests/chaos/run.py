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
from tests.chaos.evidence import Evidence, look
from tests.chaos.plan import TROUBLES, Plan, make_plan
from tests.chaos.stack import COMPENSATE, Stack, running_stack
from tests.chaos.striker import Striker
from tests.chaos.supervised import with_environment
from tests.support.waiting import eventually

_SETTLE_S = 90.0
_SETTLE_PER_TASK_S = 1.0
_LAST_CHILDREN_S = 5.0


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    seed: int
    client: Client
    blows: Mapping[tuple[str, str], int]
    evidence: Evidence
    faults: list[Fault]
    storm_s: float
    settle_s: float

    def figures(self) -> str:
        """One line."""
        found = Counter(fault.kind for fault in self.faults)
        begun_again = sum(int(record["attempt"]) > 1 for record in self.evidence.records.values())
        return "; ".join(
            [
                f"seed {self.seed}",
                f"{len(self.client.accepted)} tasks, {begun_again} begun more than once",
                f"{self.client.unanswered} POSTs unanswered, {self.client.refused} refused",
                self._dealt("kills", "kill"),
                self._dealt("freezes", "freeze"),
                self._dealt("broken links", *TROUBLES),
                *(f"{kind} {found[kind]}" for kind in Kind),
                f"duplicated webhooks {repeated(self.evidence)}",
                f"{self.storm_s:.0f} s of storm, settled after {self.settle_s:.0f} s",
            ]
        )

    def report(self) -> str:
        """Every fault, with the record of its task where it is one's."""
        lines = []
        for fault in self.faults:
            lines.append(f"{fault.kind}: {fault.what}: {fault.sentence}")
            if record := self.evidence.records.get(fault.what):
                lines.append(f"    {dict(record)}")
        return "\n".join(lines)

    def _dealt(self, name: str, *troubles: str) -> str:
        by_target: Counter[str] = Counter()
        for (trouble, target), count in self.blows.items():
            by_target[target] += count * (trouble in troubles)
        split = ", ".join(f"{target} {count}" for target, count in sorted((+by_target).items()))
        return f"{by_target.total()} {name} ({split})"


def run(folder: Path, seed: int, tasks: int, kills: int) -> Outcome:
    """Everything, with all files in `folder`; the logs are in `folder`/logs."""
    plan = make_plan(seed, tasks, kills)
    with running_stack(folder, Random(f"{seed} pauses")) as stack:
        client, striker = Client(stack, seed), Striker(stack)
        started = time.monotonic()
        _storm(client, striker, plan)
        raged = time.monotonic()
        stack.note("the storm is over")
        promises = Promises(client.asked, client.accepted)
        evidence, found = _settled(stack, promises, _SETTLE_S + tasks * _SETTLE_PER_TASK_S)
        settled = time.monotonic()
        stack.links["s3"].latency_s = 0
        found += faults_of_stems(
            promises, evidence, lambda url: requests.get(url, timeout=30).content, seed, COMPENSATE
        )
        stack.stop_doors()
        found += _survivors(stack)
    return Outcome(seed, client, striker.dealt, evidence, found, raged - started, settled - raged)


def _storm(client: Client, striker: Striker, plan: Plan) -> None:
    """Songs come in while blows fall, until there are no more of either."""
    with ThreadPoolExecutor(2) as pool:
        works = [pool.submit(client.submit, plan.songs), pool.submit(striker.deal, plan.blows)]
        for work in works:
            work.result()


def _settled(stack: Stack, promises: Promises, within_s: float) -> tuple[Evidence, list[Fault]]:
    """What there is once nothing moves any more, or at the end of that time, with the faults that there are then."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            evidence = look(stack)
            found = faults(promises, evidence)
            if not _may_pass(found) or time.monotonic() > deadline:
                return evidence, found
        except (RedisError, BotoCoreError, ClientError):
            if time.monotonic() > deadline:
                raise
        time.sleep(1)


def _may_pass(found: list[Fault]) -> bool:
    return any(fault.kind in (Kind.STUCK, Kind.LEFT_OVER) for fault in found)


def _survivors(stack: Stack) -> list[Fault]:
    """The processes that outlive the service; children have a moment to notice that their parent is gone."""
    with suppress(AssertionError):
        eventually(lambda: not with_environment(stack.mark), "the last child ends", _LAST_CHILDREN_S, every_s=0.1)
    pids = with_environment(stack.mark)
    return [Fault(Kind.LEFT_OVER, str(pid), "a process that outlives the service") for pid in pids]
