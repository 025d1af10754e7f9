"""The whole order of the queue, against a model of it in plain Python: any steps in any sequence, on a real server."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run
from redis import Redis

from redis_queue import Lease, RedisQueue
from tests.support.leases import expire, make_older

OWNERS = ("", "anna", "bert", "carl")
MODELS = ("", '["a"]', '["b"]')
MAX_WAIT_S = 5_000
LONG_S = 10_000
"""By how much a test makes an item older, so that it waits for more than MAX_WAIT_S or is the first of its line."""

Line = tuple[int, int, str]
"""6 - priority, 1 for retries, owner."""


@dataclass
class Item:
    """What the order depends on."""

    id: str
    number: int
    owner: str
    weight: int
    enqueued_s: int
    models: str = ""
    failures: int = 0
    claims: int = 0
    line: Line | None = None
    turn: int | None = None
    """The turn in which it was claimed, until others have theirs."""

    def place(self) -> tuple[int, int]:
        return self.enqueued_s, self.number


@dataclass
class Model:
    """The rules of order.lua as a person would write them down, without regard to speed."""

    max_wait_s: int
    max_running: int
    max_overtakes: int
    waiting: dict[str, Item] = field(default_factory=dict)
    leased: dict[str, Item] = field(default_factory=dict)
    aside: dict[str, Item] = field(default_factory=dict)
    """Delayed or dead."""
    due: set[str] = field(default_factory=set)
    """Delayed items that wait again from the next look at the queue on."""
    turns: dict[Line, int] = field(default_factory=dict)
    """Of the lines in which an item waits."""
    last_turn: int = 0
    jumps: dict[Line, dict[int, tuple[int, int]]] = field(default_factory=dict)
    """By number, the places of the items that went out of their turn, as far as they come after that of the head."""

    def put_back(self, item: Item) -> None:
        line = item.weight, int(item.failures > 0), item.owner
        kept = item.turn if item.line == line else None
        if line not in self.turns:
            self.turns[line] = self.next_turn() if kept is None else kept
        elif kept is not None:
            self.turns[line] = min(self.turns[line], kept)
        item.line, item.turn = line, None
        self.waiting[item.id] = item

    def next_turn(self) -> int:
        self.last_turn += 1
        return self.last_turn

    def promote_due(self) -> None:
        for item_id in sorted(self.due & self.aside.keys()):
            self.put_back(self.aside.pop(item_id))
        self.due.clear()

    def claim(self, now_s: int, loaded: Sequence[str] = ()) -> Item | None:
        self.promote_due()
        candidates = [item for item in self.waiting.values() if not self.is_at_limit(item.owner)]
        if not candidates:
            return None
        if overdue := [item for item in candidates if self.is_overdue(item, now_s)]:
            return self.lease(min(overdue, key=lambda item: (item.enqueued_s, item.line, item.number)))
        line = min({item.line for item in candidates if item.line}, key=lambda line: (line[:2], self.turns[line]))
        first, turn = self.first_of(line, loaded), self.turns[line]
        self.lease(first)
        first.turn = turn
        if line in self.turns:
            self.turns[line] = self.next_turn()
        return first

    def first_of(self, line: Line, loaded: Sequence[str]) -> Item:
        head, *others = sorted((item for item in self.waiting.values() if item.line == line), key=Item.place)
        loaded_items = [item for item in others if item.models in loaded]
        if not self.max_overtakes or head.models in loaded or head.claims or not loaded_items:
            return head
        jumps = self.jumps.setdefault(line, {})
        for number in [number for number, place in jumps.items() if place < head.place()]:
            del jumps[number]
        first = loaded_items[0]
        if len(jumps.keys() - {first.number}) >= self.max_overtakes:
            return head
        jumps[first.number] = first.place()
        return first

    def is_overdue(self, item: Item, now_s: int) -> bool:
        return 0 < self.max_wait_s <= now_s - item.enqueued_s

    def lease(self, item: Item) -> Item:
        assert item.line
        item.claims += 1
        item.turn = self.turns[item.line]
        self.remove(item)
        self.leased[item.id] = item
        return item

    def is_at_limit(self, owner: str) -> bool:
        running = sum(item.owner == owner for item in self.leased.values())
        return owner != "" and 0 < self.max_running <= running

    def remove(self, item: Item) -> None:
        for state in (self.waiting, self.leased, self.aside):
            state.pop(item.id, None)
        self.turns = {line: turn for line, turn in self.turns.items() if self.length(line)}
        self.jumps = {line: jumps for line, jumps in self.jumps.items() if self.length(line)}

    def length(self, line: Line) -> int:
        return sum(item.line == line for item in self.waiting.values())

    def would_claim_another(self, item_id: str, now_s: int) -> bool:
        """Whether a claim takes another item if this leased one waits again at its old place.

        One that went out of its turn may have overtaken that item, unless it came back meanwhile.
        """
        after = copy.deepcopy(self)
        item = after.leased.pop(item_id)
        has_jumped = item.line in self.jumps and item.number in self.jumps[item.line]
        after.put_back(item)
        first = after.claim(now_s)
        if first is None or first.id == item_id:
            return False
        is_first_try = first.claims == 1
        was_passed = has_jumped and first.line == item.line and is_first_try
        return not was_passed or self.is_overdue(first, now_s)

    def order(self) -> list[str]:
        """The waiting items in the order of claims, without overdue ones and limits."""
        rest = copy.deepcopy(self)
        rest.due.clear()
        rest.max_wait_s = rest.max_running = rest.max_overtakes = 0
        ids = []
        while item := rest.claim(0):
            ids.append(item.id)
        return ids


class AnySteps(RuleBasedStateMachine):
    """Takes the same steps with the queue and the model, and compares what they claim."""

    client: Redis
    items = Bundle("items")
    leases = Bundle("leases")

    @initialize(
        max_wait_s=st.sampled_from([0, MAX_WAIT_S]),
        max_running=st.sampled_from([0, 0, 1, 2]),
        max_overtakes=st.sampled_from([0, 1, 1, 2]),
        has_users=st.booleans(),
    )
    def start(self, max_wait_s: int, max_running: int, max_overtakes: int, has_users: bool) -> None:
        self.client.flushall()
        limits = {"max_wait_s": max_wait_s, "max_running": max_running, "max_overtakes": max_overtakes}
        self.queue = RedisQueue(self.client, "tasks", **limits)
        self.model = Model(**limits)
        self.has_users = has_users
        self.overtaken: dict[str, set[str]] = {}
        """For each item: those after it in its line that were claimed while it waited."""
        self.served: dict[Line, Counter[Line]] = {}
        """For each line that waits: how often it saw another line of its class go before it."""

    @rule(
        target=items,
        owner=st.sampled_from(OWNERS),
        priority=st.sampled_from([3, 3, 3, 4]),
        models=st.lists(st.sampled_from(MODELS), min_size=1, max_size=6),
    )
    def enqueue(self, owner: str, priority: int, models: list[str]) -> str:
        owner = owner if self.has_users else ""
        for text in models:
            number = int(self.client.get("tasks:seq") or 0) + 1
            record = {"status": "queued", "created_ms": 1, "owner": owner} | ({"models": text} if text else {})
            assert self.queue.enqueue(f"item{number}", priority, record).accepted
            seconds = int(self.client.hget(f"tasks:item:item{number}", "score")) // (6 - priority)
            self.model.put_back(Item(f"item{number}", number, owner, 6 - priority, seconds, text))
        return f"item{number}"

    @rule(target=leases, loaded=st.sets(st.sampled_from(MODELS)))
    def claim(self, loaded: set[str]) -> Lease | None:
        expected = self.model.claim(self.now_s(), sorted(loaded))
        lease = self.queue.claim(loaded=sorted(loaded))
        assert (lease and lease.id) == (expected and expected.id)
        if expected:
            self.note_overtaken(expected)
            if not self.model.is_overdue(expected, self.now_s()):
                self.note_turn(expected)
        return lease

    @rule(loaded=st.sets(st.sampled_from(MODELS)), count=st.integers(2, 8))
    def serve(self, loaded: set[str], count: int) -> None:
        """Claim and finish as a worker does that keeps its models."""
        for _ in range(count):
            self.finish(self.claim(loaded))

    def note_overtaken(self, claimed: Item) -> None:
        """Check that no item is overtaken too often in its line, and none by items of its own model."""
        for item in self.model.waiting.values():
            if item.line == claimed.line and item.place() < claimed.place():
                assert item.models != claimed.models, f"{claimed} was claimed before {item}"
                self.overtaken.setdefault(item.id, set()).add(claimed.id)
                assert len(self.overtaken[item.id]) <= self.model.max_overtakes, f"{item} waits too long"

    def note_turn(self, claimed: Item) -> None:
        """Check that no line waits while another line of its class has two turns."""
        assert claimed.line
        self.served.pop(claimed.line, None)
        for line in self.model.turns:
            if line[:2] == claimed.line[:2] and line != claimed.line and not self.model.is_at_limit(line[2]):
                seen = self.served.setdefault(line, Counter())
                seen[claimed.line] += 1
                assert seen[claimed.line] <= 1, f"{line} waits while {claimed.line} has another turn"

    @rule(lease=consumes(leases))
    def finish(self, lease: Lease | None) -> None:
        if item := self.held(lease):
            assert lease
            assert self.queue.finish(lease)
            self.model.remove(item)

    @rule(lease=consumes(leases))
    def release(self, lease: Lease | None) -> None:
        if item := self.held(lease):
            assert lease
            assert self.queue.release(lease)
            self.put_back(item, counted=False)

    @rule(lease=consumes(leases), begun=st.booleans())
    def lose(self, lease: Lease | None, begun: bool) -> None:
        if item := self.held(lease):
            assert lease
            if begun:
                assert self.queue.extend(lease)
            expire(self.queue, self.client, lease)
            assert self.queue.reap() == [lease.id]
            self.put_back(item, counted=begun)

    @rule(lease=consumes(leases), counts_as=st.sampled_from(["failures", "crashes", ""]), delayed=st.booleans())
    def retry(self, lease: Lease | None, counts_as: str, delayed: bool) -> None:
        if item := self.held(lease):
            assert lease
            assert self.queue.retry(lease, delay_s=1000 if delayed else 0, counts_as=counts_as)
            if not delayed:
                self.put_back(item, counted=counts_as != "")
                return
            self.model.remove(item)
            item.failures += counts_as != ""
            item.turn = None
            self.model.aside[item.id] = item

    @rule(item_id=items)
    def become_due(self, item_id: str) -> None:
        if self.client.zscore("tasks:delayed", item_id):
            self.client.zadd("tasks:delayed", {item_id: 0})
            self.model.due.add(item_id)

    @rule(lease=consumes(leases))
    def bury(self, lease: Lease | None) -> None:
        if item := self.held(lease):
            assert lease
            assert self.queue.bury(lease)
            self.model.remove(item)
            self.model.aside[item.id] = item

    @rule(item_id=items)
    def revive(self, item_id: str) -> None:
        if self.queue.revive(item_id):
            item = self.model.aside.pop(item_id)
            number = int(self.client.get("tasks:seq") or 0)
            seconds = int(self.client.hget(f"tasks:item:{item_id}", "score")) // item.weight
            self.overtaken.pop(item_id, None)  # it stands at another place now
            again = replace(item, number=number, enqueued_s=seconds, failures=0, line=None, turn=None)
            self.model.put_back(again)

    @rule(item_id=items)
    def cancel(self, item_id: str) -> None:
        if self.queue.cancel(item_id, [], ["queued"]):
            states = (self.model.waiting, self.model.leased, self.model.aside)
            for item in [state[item_id] for state in states if item_id in state]:
                self.model.remove(item)

    @rule(item_id=items)
    def grow_old(self, item_id: str) -> None:
        if item := self.model.waiting.get(item_id):
            make_older(self.queue, item_id, LONG_S)
            item.enqueued_s -= LONG_S
            self.overtaken.clear()  # an item never changes its place in real life, so its line begins anew

    @rule(lease=leases)
    def look_whether_it_is_overtaken(self, lease: Lease | None) -> None:
        if self.held(lease):
            assert lease
            self.model.promote_due()
            assert self.queue.overtaken(lease) == self.model.would_claim_another(lease.id, self.now_s())

    @invariant()
    def a_line_that_ended_has_seen_nothing(self) -> None:
        self.served = {line: seen for line, seen in self.served.items() if line in self.model.turns}

    @precondition(lambda self: len(self.model.waiting) < 30)
    @invariant()
    def positions_are_the_order(self) -> None:
        order = self.model.order()
        assert [self.queue.position(item_id) for item_id in order] == list(range(len(order)))
        assert self.client.zcard("tasks") == len(order), "the sorted set of the contract has every waiting item"

    def teardown(self) -> None:
        """Nothing is kept about owners for whom nothing waits."""
        for item_id in [*self.model.waiting, *self.model.leased]:
            self.queue.cancel(item_id, [], ["queued"])
        left = set(self.client.keys())
        assert not {key for key in left if any(f":{kind}:" in key for kind in ("line", "jumps", "running"))}
        assert not left & {"tasks", "tasks:turns", "tasks:ages"}

    def held(self, lease: Lease | None) -> Item | None:
        """The item of a lease that still counts."""
        if lease is None or self.queue.holder(lease.id) != lease.fence:
            return None
        return self.model.leased[lease.id]

    def put_back(self, item: Item, *, counted: bool) -> None:
        self.model.remove(item)
        if counted:
            item.failures += 1
            item.turn = None
        else:
            for seen in self.served.values():  # a turn that was given back is no turn
                seen[item.line or (0, 0, "")] -= 1
        self.model.put_back(item)

    def now_s(self) -> int:
        now: Any = self.client.time()
        return int(now[0])


def test_any_steps_keep_the_order(redis_client: Redis) -> None:
    machine = type("Steps", (AnySteps,), {"client": redis_client})
    run(machine, settings=settings(max_examples=100, stateful_step_count=40, deadline=None))


@given(
    songs=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=30),
    ahead=st.integers(0, 3),
)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_first_tries_of_one_user_have_exactly_the_specified_order(
    redis_client: Redis, songs: list[tuple[int, int]], ahead: int
) -> None:
    redis_client.flushall()
    queue = RedisQueue(redis_client, "tasks")
    for number, (priority, older_s) in enumerate(songs):
        queue.enqueue(f"item{number}", priority, {"status": "queued", "created_ms": 1, "owner": "admin"})
        make_older(queue, f"item{number}", older_s)
    specified = [member.partition(":")[2] for member in redis_client.zrange("tasks", 0, -1)]
    for lease in [queue.claim() for _ in range(ahead)]:
        assert lease is None or queue.release(lease)
    claimed = []
    while lease := queue.claim():
        claimed.append(lease.id)
    assert claimed == specified
