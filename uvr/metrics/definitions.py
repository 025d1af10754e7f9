"""What the service counts and measures, and the sums of this process that nobody has seen yet.

Counting is an addition in memory, so it can neither hold a task up nor fail it. `uvr.metrics.aggregation` takes the
sums of every process to Redis, and GET /metrics shows what they add up to. Each metric is explained in docs/metrics.md.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

Series = tuple[str, ...]
"""One number: a metric's name, which part of it ("" for a counter, else `SUM` or a bucket's bound), its labels' values.
"""
Labels = Mapping[str, Sequence[str]]
"""Names of labels, each with the values it can have; () where these are not known beforehand."""

SUM = "sum"
ABOVE = "+Inf"
"""The bucket of what exceeds every bound."""


class Sums:
    """Numbers by series; used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[Series, float] = {}

    def add(self, amounts: Mapping[Series, float]) -> None:
        """Add to each series, which begins at 0."""
        with self._lock:
            for series, amount in amounts.items():
                self._sums[series] = self._sums.get(series, 0.0) + amount

    def take(self) -> dict[Series, float]:
        """All sums, which begin anew."""
        with self._lock:
            taken, self._sums = self._sums, {}
        return taken


UNSENT = Sums()
"""Those of this process."""


@dataclass(frozen=True)
class Metric:
    """A number under a name, for each combination of its labels' values; `help` says what it is."""

    name: str
    help: str
    labels: Labels = field(default_factory=dict)

    def label_combinations(self) -> list[Series]:
        """The combinations of label values that are known beforehand; none if one of the labels is open.

        They are shown from the start: Prometheus sees no increase in a series that appears with its first 1.
        """
        return list(product(*self.labels.values()))

    def _values(self, labels: Mapping[str, str]) -> Series:
        return tuple(labels.get(name, "") for name in self.labels)


class Counter(Metric):
    """A sum that only grows."""

    def add(self, amount: float = 1, **labels: str) -> None:
        """Add `amount`, not negative, to the series with these labels."""
        UNSENT.add({(self.name, "", *self._values(labels)): amount})


@dataclass(frozen=True)
class Histogram(Metric):
    """How often values fell between which bounds, and their sum. `bounds` ascend; a value equal to one is below it."""

    bounds: tuple[float, ...] = ()

    def observe(self, value: float, **labels: str) -> None:
        """Count `value` into its bucket."""
        values = self._values(labels)
        UNSENT.add({(self.name, self.bucket(value), *values): 1, (self.name, SUM, *values): value})

    def bucket(self, value: float) -> str:
        """The bound below which `value` is counted."""
        place = bisect_left(self.bounds, value)
        return str(self.bounds[place]) if place < len(self.bounds) else ABOVE


_ANSWER_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_STEP_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
_TASK_S = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21600.0, 86400.0)
_GAP_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)
_SONG_S = (10.0, 30.0, 60.0, 120.0, 180.0, 240.0, 300.0, 420.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0)
_FACTOR = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0, 10.0)
_NETWORK: Labels = {"model": (), "provider": ()}
_END: Labels = {"status": ("success", "failed", "cancelled")}

HTTP_REQUESTS = Counter(
    "uvr_http_requests_total", "Requests the API answered.", {"method": (), "route": (), "status": ()}
)
HTTP_REQUEST_SECONDS = Histogram(
    "uvr_http_request_seconds", "From a request to the head of its answer.", {"method": (), "route": ()}, _ANSWER_S
)
TASKS_ENDED = Counter("uvr_tasks_ended_total", "Tasks that ended, by how.", _END)
TASK_SECONDS = Histogram("uvr_task_seconds", "From a task's acceptance to its end.", _END, _TASK_S)
TASK_QUEUED_SECONDS = Histogram(
    "uvr_task_queued_seconds", "From a task's acceptance to the start of its last attempt.", bounds=_TASK_S
)
FETCH_SECONDS = Histogram("uvr_fetch_seconds", "Time to fetch a song.", bounds=_STEP_S)
AUDIO_SECONDS = Histogram("uvr_audio_seconds", "Length of the songs that were separated.", _NETWORK, _SONG_S)
SEPARATION_SECONDS = Histogram(
    "uvr_separation_seconds", "Time to decode, separate and encode a song.", _NETWORK, _STEP_S
)
REAL_TIME_FACTOR = Histogram(
    "uvr_real_time_factor", "Seconds of separation for each second of audio.", _NETWORK, _FACTOR
)
NETWORK_BUSY_SECONDS = Counter("uvr_network_busy_seconds_total", "Time that songs spent in the network.")
NETWORK_GAP_SECONDS = Histogram(
    "uvr_network_gap_seconds", "Time that the network was empty before a song.", bounds=_GAP_S
)
STORE_SECONDS = Histogram(
    "uvr_store_seconds", "Time to store the stems of a song.", {"storage": ("s3", "local")}, _STEP_S
)
STORAGE_ERRORS = Counter(
    "uvr_storage_errors_total",
    "Calls of the storage that failed.",
    {"storage": ("s3", "local"), "kind": ("transient", "permanent")},
)
WEBHOOK_TRIES = Counter(
    "uvr_webhook_tries_total", "Delivery attempts of webhooks.", {"outcome": ("delivered", "retry", "final")}
)
CLAIMS = Counter(
    "uvr_claims_total",
    "Claims of items, by the kind of the worker and the step of the queue that ended them.",
    {"worker": ("processor", "store", "webhook"), "step": ("finish", "later", "retry", "bury", "release", "lost")},
)
CHILD_CRASHES = Counter(
    "uvr_child_crashes_total",
    "Child processes of a processor that died by themselves.",
    {"child": ("media", "network")},
)

METRICS: tuple[Counter | Histogram, ...] = tuple(
    metric for metric in list(globals().values()) if isinstance(metric, Counter | Histogram)
)
"""All of the above."""
