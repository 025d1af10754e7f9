"""What the service offers now: the settings, and what the processors have announced in Redis.

It is read when a request names a model or stems, and for GET /models, at most every few seconds. A request that names
neither costs nothing. As long as no processor has announced its models, it is read every time: the API has several
processes, and the models that GET /models shows in one of them must not be unknown to another one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from config import Settings
from uvr.liveness.workers import live_workers
from uvr.models.announcements import ModelAnnouncements
from uvr.models.offers import Offers
from uvr.models.presets import Preset
from uvr.tasks.broker import Broker

_CACHE_S = 3.0


class ModelOffers:
    """The offers, cached for `_CACHE_S` seconds. Safe to use from several threads."""

    def __init__(
        self,
        settings: Settings,
        broker: Broker,
        presets: Mapping[str, Preset],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._broker = broker
        self._presets = presets
        self._announcements = ModelAnnouncements(broker.client, broker.root)
        self._clock = clock
        self._cached: tuple[float, Offers] | None = None

    def now(self) -> Offers:
        """What is offered at the moment. May raise `redis.RedisError`."""
        now, cached = self._clock(), self._cached
        if cached is None or not cached[1].runnable or now - cached[0] > _CACHE_S:
            processors = live_workers(self._broker.client, self._broker.root).get("processor", [])
            offers = Offers(
                default=self._settings.shown_model_name,
                listed=self._settings.models_offered,
                presets=self._presets,
                runnable=self._announcements.runnable(processor["name"] for processor in processors),
            )
            cached = self._cached = now, offers
        return cached[1]
