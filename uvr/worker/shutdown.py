"""The two stages in which a worker process stops."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Shutdown:
    """First `requested`: claim nothing more. Then `abandoned`: release what is not finished."""

    requested: threading.Event = field(default_factory=threading.Event)
    abandoned: threading.Event = field(default_factory=threading.Event)
