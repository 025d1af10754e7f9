"""GET /metrics: the whole service in the text form of Prometheus, whichever of its processes answers.

What is counted comes from Redis, where all processes add it up (`uvr.metrics.aggregation`); how much waits and who is
at work is read there in the same moment. A scrape costs a few round trips, however many tasks there are.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from itertools import accumulate
from typing import Any

import structlog
from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from redis import RedisError

from redis_queue import RedisQueue
from uvr.api.auth.basic import BASIC_AUTH, BEARER_TOKEN, require_scraper
from uvr.api.problems import Problem
from uvr.api.services import services
from uvr.liveness.workers import live_workers
from uvr.metrics.definitions import ABOVE, METRICS, SUM, Counter, Histogram, Series
from uvr.tasks.queues import known_node_ids, open_result_queue

log = structlog.get_logger()

_TEXT: dict[str, Any] = {
    "description": "every metric with its help, in the text form of Prometheus",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}
_WORKER_LABELS = ("kind", "node", "model", "provider", "storage", "paused")

metrics = APIBlueprint("metrics", __name__, abp_security=[{BASIC_AUTH: []}, {BEARER_TOKEN: []}])
metrics.before_request(require_scraper)


@metrics.get("/metrics", responses={200: _TEXT, 401: Problem, 403: Problem, 429: Problem, 503: Problem})
def show_metrics() -> Response:
    """Show what the service counts and measures, for Prometheus.

    200 even while Redis is away: all that is shown then is that it is.
    """
    return Response(generate_latest(_Families(_read())), HTTPStatus.OK, content_type=CONTENT_TYPE_PLAIN_0_0_4)


@dataclass(frozen=True)
class _Families:
    """Metrics in the form that `generate_latest` takes."""

    families: list[Metric]

    def collect(self) -> list[Metric]:
        return self.families


def _read() -> list[Metric]:
    up = GaugeMetricFamily("uvr_redis_up", "Whether Redis answers; while it does not, there is nothing else to show.")
    try:
        families = [*_queue_families(), _tasks(), _workers(), *_totals()]
    except RedisError as error:
        log.error("redis.unavailable", error_kind=type(error).__name__, error=str(error))
        families = []
    up.add_metric([], bool(families))
    return [up, *families]


def _queue_families() -> list[Metric]:
    waiting = GaugeMetricFamily(
        "uvr_queue_waiting", "Items that wait for a worker.", labels=["queue", "node", "priority"]
    )
    oldest = GaugeMetricFamily(
        "uvr_queue_oldest_seconds",
        "For how long the oldest waiting item has been there, 0 if none waits.",
        labels=["queue", "node", "priority"],
    )
    leased = GaugeMetricFamily("uvr_queue_leased", "Items that a worker holds.", labels=["queue", "node"])
    delayed = GaugeMetricFamily("uvr_queue_delayed", "Items that wait for another try.", labels=["queue", "node"])
    dead = GaugeMetricFamily("uvr_queue_dead", "Dead letters.", labels=["queue", "node"])
    for labels, queue in _queues():
        sizes = queue.sizes()
        for priority, count in sizes.by_priority.items():
            waiting.add_metric([*labels, str(priority)], count)
            oldest.add_metric([*labels, str(priority)], sizes.oldest_s[priority])
        leased.add_metric(labels, sizes.leased)
        delayed.add_metric(labels, sizes.delayed)
        dead.add_metric(labels, sizes.dead)
    return [waiting, oldest, leased, delayed, dead]


def _queues() -> Iterator[tuple[list[str], RedisQueue]]:
    """Each queue, with its values of the labels `queue` and `node`."""
    settings, clients, queues = services().settings, services().clients, services().queues
    yield ["tasks", ""], queues.tasks
    for node in sorted({"", *known_node_ids(clients.commands, settings.redis_task_queue)}):
        yield ["results", node], open_result_queue(settings, clients, node)
    yield ["webhooks", ""], queues.webhooks


def _tasks() -> Metric:
    family = GaugeMetricFamily("uvr_tasks", "Tasks that are known, by status.", labels=["status"])
    for status, count in services().store.counts().items():
        family.add_metric([status.value], count)
    return family


def _workers() -> Metric:
    """Workers that say the same of themselves are one series; a kind of which there are none is one of value 0."""
    family = GaugeMetricFamily(
        "uvr_workers", "Worker processes, by what they say of themselves.", labels=_WORKER_LABELS
    )
    found = live_workers(services().clients.commands, services().settings.redis_task_queue)
    alike = collections.Counter(_worker_labels(kind, facts) for kind, workers in found.items() for facts in workers)
    for kind in ("processor", "uploader"):
        if kind not in found:
            alike[_worker_labels(kind, {})] = 0
    for labels, count in sorted(alike.items()):
        family.add_metric(labels, count)
    return family


def _worker_labels(kind: str, facts: Mapping[str, str]) -> Series:
    told = {**facts, "kind": kind, "paused": "yes" if facts.get("paused") else "no"}
    return tuple(told.get(label, "") for label in _WORKER_LABELS)


def _totals() -> Iterator[Metric]:
    """Every metric of the list; what is known beforehand to have a series has it from the start, at 0."""
    totals = services().totals.read()
    for metric in METRICS:
        parts: dict[Series, dict[str, float]] = {values: {} for values in metric.known_values()}
        for (name, part, *values), amount in totals.items():
            # Another version may have counted with other labels.
            if name == metric.name and len(values) == len(metric.labels):
                parts.setdefault(tuple(values), {})[part] = amount
        yield _histogram(metric, parts) if isinstance(metric, Histogram) else _counter(metric, parts)


def _counter(metric: Counter, parts: Mapping[Series, Mapping[str, float]]) -> Metric:
    family = CounterMetricFamily(metric.name, metric.help, labels=list(metric.labels))
    for values, amounts in sorted(parts.items()):
        family.add_metric(values, amounts.get("", 0))
    return family


def _histogram(metric: Histogram, parts: Mapping[Series, Mapping[str, float]]) -> Metric:
    """Prometheus counts a value into every bucket that has room for it, we only into the smallest."""
    family = HistogramMetricFamily(metric.name, metric.help, labels=list(metric.labels))
    bounds = [*map(str, metric.bounds), ABOVE]
    for values, amounts in sorted(parts.items()):
        counts = accumulate(amounts.get(bound, 0) for bound in bounds)
        family.add_metric(values, list(zip(bounds, counts, strict=True)), amounts.get(SUM, 0))
    return family
