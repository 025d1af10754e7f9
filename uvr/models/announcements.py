"""What processors can run: each tells it in Redis, because only processors see the model files.

Every processor of one queue serves every model that is offered, so any of them speaks for all. While none is running,
the last announcement still counts: tasks are accepted and wait.

    R:models:{worker}    String    the models of one running processor, JSON; expires with it
    R:models             String    the models that a processor announced last, JSON
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from redis import Redis

_EXPIRES_S = 180
"""A processor has to tell its models again within this time."""


@dataclass(frozen=True)
class RunnableModel:
    """A model that a processor can run: its file is there, or can be downloaded; unknown values are empty or None."""

    name: str
    """The catalogue's name, or that of the operator's own file."""
    stems: tuple[str, ...] = ()
    """The names of the stems that it gives, the main one first."""
    engine: str = ""
    """The engine that runs it: "mdx", "roformer", "audio-separator"."""
    is_here: bool = True
    """Whether its files are in MODEL_FILE_DIR."""
    device: str = ""
    """What it ran on: "cpu", "cuda"."""
    memory_bytes: int | None = None
    """The memory of its process, measured while it ran."""
    load_s: float | None = None
    """How long it took to load."""


class ModelAnnouncements:
    """The announcements under `root`. Methods may raise `redis.RedisError`."""

    def __init__(self, client: Redis, root: str) -> None:
        self._client = client
        self._key = f"{root}:models"

    def announce(self, worker: str, models: Iterable[RunnableModel]) -> None:
        """Tell the models of the processor called `worker`; to be repeated every minute."""
        announced = json.dumps([asdict(model) for model in models], ensure_ascii=False)
        self._client.set(self._key, announced)
        self._client.set(f"{self._key}:{worker}", announced, ex=_EXPIRES_S)

    def withdraw(self, worker: str) -> None:
        """The processor called `worker` ends."""
        self._client.delete(f"{self._key}:{worker}")

    def runnable(self, workers: Iterable[str]) -> Mapping[str, RunnableModel]:
        """By name, the models that any of these running processors can run; with none of them, those announced last.

        If several tell of a model, one that has its files counts.
        """
        keys = [f"{self._key}:{worker}" for worker in workers]
        announced: Any = [text for text in map(self._client.get, keys) if text] or [self._client.get(self._key) or "[]"]
        models = [_read(entry) for text in announced for entry in json.loads(text)]
        return {model.name: model for model in sorted(models, key=lambda model: model.is_here)}


def _read(entry: dict[str, Any]) -> RunnableModel:
    """One announced model; ignores what a newer version has added."""
    known = {part.name for part in fields(RunnableModel)}
    read: dict[str, Any] = {name: value for name, value in entry.items() if name in known}
    return RunnableModel(**{**read, "stems": tuple(read.get("stems", ()))})
