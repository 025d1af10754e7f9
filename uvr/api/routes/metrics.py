"""GET /metrics: metrics of the whole service in Prometheus text format, the same from whichever process responds.

Counters and histograms come from Redis, where all processes add up theirs (`uvr.metrics.aggregation`). The queue sizes
and the workers are read from there at the same moment. A scrape takes a few round trips, however many tasks there are.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import accumulate
from typing import Any

import structlog
from flask import Response, g
from flask_openapi3.blueprint import APIBlueprint
from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from redis import RedisError

from uvr.api.auth.basic import ANY_CREDENTIALS, require_metrics_access
from uvr.api.problems import Problem
from uvr.api.services import services
from uvr.liveness.disks import announced_spaces
from uvr.liveness.workers import loaded_models
from uvr.metrics.definitions import ABOVE, METRICS, SUM, Histogram, Series
from uvr.models.announcements import ModelAnnouncements

log = structlog.get_logger()

_TEXT: dict[str, Any] = {
    "description": "every metric with its help, in Prometheus text format",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}
_WORKER_LABELS = ("kind", "node", "model", "provider", "storage", "paused")

metrics = APIBlueprint("metrics", __name__, abp_security=ANY_CREDENTIALS)
metrics.before_request(require_metrics_access)


@metrics.get("/metrics", responses={200: _TEXT, 401: Problem, 403: Problem, 429: Problem, 503: Problem})
def show_metrics() -> Response:
    """Show the metrics of the service, for Prometheus.

    200 even while Redis is down: then uvr_redis_up is 0 and the only metric.
    """
    up = GaugeMetricFamily("uvr_redis_up", "Whether Redis responds; while it does not, this is the only metric.")
    tasks = GaugeMetricFamily("uvr_tasks", "Tasks by status.", labels=["status"])
    try:
        if "redis_error" in g:
            raise g.redis_error  # `require_metrics_access` has found out
        for status, count in services().store.counts().items():
            tasks.add_metric([status.value], count)
        families = [*_queue_families(), tasks, *_worker_families(), *_total_families()]
    except RedisError as error:
        log.error("redis.unavailable", error_kind=type(error).__name__, error=str(error))
        families = []
    up.add_metric([], bool(families))
    text = generate_latest(_Families([up, *families]))
    return Response(text, HTTPStatus.OK, content_type=CONTENT_TYPE_PLAIN_0_0_4)


@dataclass(frozen=True)
class _Families:
    """Metric families, in the form of a registry that `generate_latest` takes."""

    families: list[Metric]

    def collect(self) -> list[Metric]:
        return self.families


def _queue_families() -> list[Metric]:
    waiting = GaugeMetricFamily(
        "uvr_queue_waiting", "Items that wait for a worker.", labels=["queue", "node", "priority"]
    )
    oldest = GaugeMetricFamily(
        "uvr_queue_oldest_seconds",
        "How long the oldest waiting item has waited, 0 if none waits.",
        labels=["queue", "node", "priority"],
    )
    leased = GaugeMetricFamily("uvr_queue_leased", "Items that a worker has leased.", labels=["queue", "node"])
    delayed = GaugeMetricFamily("uvr_queue_delayed", "Items that wait for a retry.", labels=["queue", "node"])
    dead = GaugeMetricFamily("uvr_queue_dead", "Dead letters.", labels=["queue", "node"])
    for kind, node, queue in services().broker.all_queues():
        labels, sizes = [kind, node], queue.sizes()
        for priority, count in sizes.by_priority.items():
            waiting.add_metric([*labels, str(priority)], count)
            oldest.add_metric([*labels, str(priority)], sizes.oldest_s[priority])
        leased.add_metric(labels, sizes.leased)
        delayed.add_metric(labels, sizes.delayed)
        dead.add_metric(labels, sizes.dead)
    return [waiting, oldest, leased, delayed, dead]


def _worker_families() -> list[Metric]:
    """Workers with the same facts are one series. A kind without any worker is one series with the value 0."""
    family = GaugeMetricFamily("uvr_workers", "Worker processes, by the facts they announce.", labels=_WORKER_LABELS)
    counts: collections.Counter[Series] = collections.Counter()
    workers = services().workers()
    for kind in {"processor", "uploader", *workers}:
        for facts in workers.get(kind, [{}]):
            values = {**facts, "kind": kind, "paused": "yes" if facts.get("paused") else "no"}
            counts[tuple(values.get(label, "") for label in _WORKER_LABELS)] += kind in workers
    for labels, count in sorted(counts.items()):
        family.add_metric(labels, count)
    kept = GaugeMetricFamily("uvr_retention_paused", "Uploaders that keep what has reached its maximum age.")
    kept.add_metric([], sum("retention" in facts for facts in workers.get("uploader", [])))
    everyone = [facts for facts_of_kind in workers.values() for facts in facts_of_kind]
    return [family, kept, *_disk_families(everyone), *_model_families(workers.get("processor", []))]


def _disk_families(workers: Sequence[Mapping[str, str]]) -> list[Metric]:
    """The free space of each node's folders: what the worker sees that has the least."""
    labels = ["node", "folder"]
    free = GaugeMetricFamily("uvr_disk_free_bytes", "Free space on the disk of a worker's folder.", labels=labels)
    required = GaugeMetricFamily("uvr_disk_min_free_bytes", "Free space below which workers pause.", labels=labels)
    found: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for facts in workers:
        for space in announced_spaces(facts):
            place = facts.get("node", ""), space.folder
            found.setdefault(place, []).append((space.free_bytes, space.min_free_bytes))
    for place, disks in sorted(found.items()):
        free_bytes, min_free_bytes = min(disks)
        free.add_metric(place, free_bytes)
        required.add_metric(place, min_free_bytes)
    return [free, required]


def _model_families(processors: Sequence[Mapping[str, str]]) -> list[Metric]:
    """The models that processors have loaded, and the memory that a network of each takes."""
    loaded = GaugeMetricFamily("uvr_model_loaded", "Processors that have the model loaded.", labels=["model"])
    memory = GaugeMetricFamily(
        "uvr_model_memory_bytes", "The highest memory of the model's process, as measured last.", labels=["model"]
    )
    names = [name for facts in processors for name in loaded_models(facts)]
    for name, count in sorted(collections.Counter(names).items()):
        loaded.add_metric([name], count)
    announcements = ModelAnnouncements(services().broker.client, services().broker.root)
    announced = announcements.runnable([facts["name"] for facts in processors]) if processors else {}
    for model in announced.values():
        if model.memory_bytes is not None:
            memory.add_metric([model.name], model.memory_bytes)
    return [loaded, memory]


def _total_families() -> Iterator[Metric]:
    """Every counter and histogram. Series that are known beforehand exist from the start, with the value 0."""
    totals = services().totals.read()
    for metric in METRICS:
        series: dict[Series, dict[str, float]] = {labels: {} for labels in metric.label_combinations()}
        for (name, part, *labels), amount in totals.items():
            # A process of another version may have counted with other labels.
            if name == metric.name and len(labels) == len(metric.labels):
                series.setdefault(tuple(labels), {})[part] = amount
        if isinstance(metric, Histogram):
            yield _histogram_family(metric, series)
            continue
        family = CounterMetricFamily(metric.name, metric.help, labels=list(metric.labels))
        for values, amounts in sorted(series.items()):
            family.add_metric(values, amounts.get("", 0))
        yield family


def _histogram_family(metric: Histogram, series: Mapping[Series, Mapping[str, float]]) -> Metric:
    """The histogram with cumulative buckets, as Prometheus has them; `series` counts each value in one bucket only."""
    family = HistogramMetricFamily(metric.name, metric.help, labels=list(metric.labels))
    bounds = [*map(str, metric.bounds), ABOVE]
    for values, amounts in sorted(series.items()):
        counts = accumulate(amounts.get(bound, 0) for bound in bounds)
        family.add_metric(values, list(zip(bounds, counts, strict=True)), amounts.get(SUM, 0))
    return family
