"""Tells the API which models this processor can run, again whenever that changes.

The folder of the models is looked through in the background: recognizing the files of a large folder for the first time
takes a while, and neither the start of the processor nor its songs wait for that.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import structlog
from redis import RedisError

from uvr.errors import PermanentError
from uvr.models.announcements import ModelAnnouncements, RunnableModel
from uvr.models.catalogue import known_model
from uvr.models.inventory import Inventory, PresentModel
from uvr.models.stems import stems_of_model
from uvr.periodic import repeating
from uvr.separation.engine_factory import EngineName
from uvr.separation.model_library import ModelLibrary
from uvr.separation.separator import Separator

log = structlog.get_logger()

_LOOK_EVERY_S = 5.0
_TELL_EVERY_S = 60.0


class ModelAnnouncer:
    """Announces the models of `library`, and the default one of `separator`, as those of the processor `worker`.

    `default_file` is the file of the default model, which may be elsewhere.
    """

    def __init__(
        self,
        announcements: ModelAnnouncements,
        worker: str,
        library: ModelLibrary,
        separator: Separator,
        default_file: Path,
    ) -> None:
        self._announcements = announcements
        self._worker = worker
        self._library = library
        self._separator = separator
        self._inventory = Inventory(library.folder)
        self._default = PresentModel(separator.name, ())
        self._default_folder = default_file.parent
        self._told: list[RunnableModel] = []
        self._told_at = -math.inf
        self._reasons: dict[str, str] = {}

    @contextmanager
    def announcing(self) -> Iterator[None]:
        """Announce until the block ends, then withdraw the announcement."""
        try:
            with repeating(self.look, _LOOK_EVERY_S, name="models", at_once=True):
                yield
        finally:
            try:
                self._announcements.withdraw(self._worker)
            except RedisError as error:
                log.debug("models.not_withdrawn", error=str(error))

    def look(self) -> None:
        """Announce the models now if they have changed, or if the last announcement is a minute old. Never fails."""
        try:
            models = self.runnable()
            if models != self._told or time.monotonic() - self._told_at >= _TELL_EVERY_S:
                self._announcements.announce(self._worker, models)
                self._told, self._told_at = models, time.monotonic()
        except RedisError as error:
            log.debug("models.not_announced", error=str(error))
        except Exception:  # an unexpected file must not end the announcements
            log.exception("models.not_looked_through")

    def runnable(self) -> list[RunnableModel]:
        """The models that this processor can run: the default one, those that are here, and those it may download."""
        here = self._inventory.models()
        default = here.get(self._separator.name) or self._default_model()
        known = {default.name: default} | self._downloadable | here
        return [
            self._told_about(model, is_here=model in here.values()) for model in known.values() if self._runs(model)
        ]

    @cached_property
    def _downloadable(self) -> dict[str, PresentModel]:
        """The models that MODELS_OFFERED names; other names there are presets, or files that are not here yet."""
        models = filter(None, map(known_model, self._library.downloadable))
        return {model.name: PresentModel(model.name, model.stems) for model in models}

    def _default_model(self) -> PresentModel:
        """The default model if it is not in the folder of the others; its file is read once."""
        if not self._default.stems:
            self._default = PresentModel(self._default.name, stems_of_model(self._default.name, self._default_folder))
        return self._default

    def _runs(self, model: PresentModel) -> bool:
        """Whether the engine that `model` needs is allowed and installed; the log says once why it is passed over."""
        if model.name == self._separator.name:
            return True
        try:
            self._library.usable_engine_of(model.name, self._library.folder)
        except PermanentError as error:
            self._log_once("model.passed_over", model.name, error.message)
            return False
        return True

    def _log_once(self, event: str, model: str, reason: str) -> None:
        if self._reasons.get(model) != reason:
            self._reasons[model] = reason
            log.info(event, model=model, reason=reason)

    def _engine_of(self, model: PresentModel) -> EngineName:
        folder = self._default_folder if model.name == self._separator.name else self._library.folder
        return self._library.engine_of(model.name, folder)

    def _told_about(self, model: PresentModel, *, is_here: bool) -> RunnableModel:
        facts = self._separator.facts(model.name)
        return RunnableModel(
            name=model.name,
            stems=model.stems,
            engine=self._engine_of(model),
            is_here=is_here or model.name == self._separator.name,
            device=facts.provider,
            memory_bytes=facts.memory_bytes,
            load_s=facts.load_s,
        )
