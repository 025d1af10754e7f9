"""The metrics of the service, and the sums of this process that are not sent yet.

Counting is an addition in memory, so it can neither delay a task nor make it fail. `uvr.metrics.aggregation` sends the
sums of each process to Redis, and GET /metrics returns the totals. docs/metrics.md explains each metric.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

Series = tuple[str, ...]
"""The key of one number: name of the metric, part ("" for a counter, else `SUM` or a bucket's bound), label values."""
Labels = Mapping[str, Sequence[str]]
"""Names of labels, each with its possible values, or () if these are not known in advance."""

SUM = "sum"
ABOVE = "+Inf"
"""The bucket for values above every bound."""


class Sums:
    """Sums by series. Several threads may use one object."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[Series, float] = {}

    def add(self, amounts: Mapping[Series, float]) -> None:
        """Add each amount to its series; a new series begins at 0."""
        with self._lock:
            for series, amount in amounts.items():
                self._sums[series] = self._sums.get(series, 0.0) + amount

    def take(self) -> dict[Series, float]:
        """Return all sums and restart at 0."""
        with self._lock:
            taken, self._sums = self._sums, {}
        return taken


UNSENT = Sums()
"""What this process has counted since it last sent its sums."""


@dataclass(frozen=True)
class Metric:
    """A number for each combination of label values; `help` describes it to Prometheus."""

    name: str
    help: str
    labels: Labels = field(default_factory=dict)

    def label_combinations(self) -> list[Series]:
        """All combinations of label values; none if the values of a label are not known in advance.

        GET /metrics shows these from the start, because Prometheus sees no increase if a series first appears with 1.
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
    """The number of values in each bucket, and their sum. `bounds` ascend, and a bucket includes its upper bound."""

    bounds: tuple[float, ...] = ()

    def observe(self, value: float, **labels: str) -> None:
        """Count `value` in its bucket."""
        values = self._values(labels)
        UNSENT.add({(self.name, self.bucket(value), *values): 1, (self.name, SUM, *values): value})

    def bucket(self, value: float) -> str:
        """The upper bound of the bucket that `value` belongs to."""
        place = bisect_left(self.bounds, value)
        return str(self.bounds[place]) if place < len(self.bounds) else ABOVE


_RESPONSE_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_STEP_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
_TASK_S = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21600.0, 86400.0)
_GAP_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)
_SONG_S = (10.0, 30.0, 60.0, 120.0, 180.0, 240.0, 300.0, 420.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0)
_FACTOR = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0, 10.0)
_NETWORK: Labels = {"model": (), "provider": ()}
_OUTCOME: Labels = {"status": ("success", "failed", "cancelled")}

HTTP_REQUESTS = Counter(
    "uvr_http_requests_total", "Requests the API answered.", {"method": (), "route": (), "status": ()}
)
HTTP_REQUEST_SECONDS = Histogram(
    "uvr_http_request_seconds", "From a request to the head of its answer.", {"method": (), "route": ()}, _RESPONSE_S
)
TASKS_ENDED = Counter("uvr_tasks_ended_total", "Tasks that ended, by how.", _OUTCOME)
TASK_SECONDS = Histogram("uvr_task_seconds", "From a task's acceptance to its end.", _OUTCOME, _TASK_S)
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
NETWORK_DOWNLOAD_WAIT_SECONDS = Counter(
    "uvr_network_download_wait_seconds_total",
    "Time that the network was empty because all claimed songs were still being downloaded.",
)
MODEL_LOAD_SECONDS = Histogram("uvr_model_load_seconds", "Time to load a model's network.", {"model": ()}, _STEP_S)
MODELS_ENDED = Counter(
    "uvr_models_ended_total", "Networks that were ended to make room for another model's.", {"model": ()}
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
LEASES_EXPIRED = Counter(
    "uvr_leases_expired_total",
    "Leases that expired because their worker died or was frozen, by the kind of the worker that noticed it.",
    {"worker": ("processor", "store", "webhook")},
)
WORKER_STARTS = Counter(
    "uvr_worker_starts_total", "Worker processes that were started.", {"kind": ("processor", "uploader")}
)
CHILD_CRASHES = Counter(
    "uvr_child_crashes_total",
    "Child processes of a processor that died by themselves.",
    {"child": ("media", "network", "download")},
)

METRICS: tuple[Counter | Histogram, ...] = tuple(
    metric for metric in list(globals().values()) if isinstance(metric, Counter | Histogram)
)
"""All metrics defined above."""
