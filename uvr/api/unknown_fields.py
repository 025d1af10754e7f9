"""Unknown fields and query parameters of a request: near misses are refused, others are ignored.

A near miss is probably a misspelled field that the request otherwise lacks. It is refused, because the client would not
get what it asked for: `hookurl` would silently mean no webhook. Clients of other versions may send fields that this
version does not know. POST /generate ignores them and names them in its response; GET /tasks only ignores them.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from flask import abort
from pydantic import BaseModel

from uvr.api.problems import FieldError, bad_request
from uvr.api.schemas.responses import FieldWarning
from uvr.spelling import closest

MAX_WARNINGS = 20
"""In one response."""
_MAX_COMPARED = 100
_MIN_NAME_LENGTH = 5
"""Shorter names are words of their own: an old client's `mode` does not mean `model`, nor its `stem` `stems`."""
_MAX_NAME_LENGTH = 64


class UnknownFields:
    """The names among those `given` that are no field of `model`."""

    def __init__(self, model: type[BaseModel], given: Iterable[str]) -> None:
        fields = {field.alias or name for name, field in model.model_fields.items()}
        names = list(given)
        missing = fields.difference(names)
        # Very long or very many names were not typed by hand, and comparing them takes time.
        unknown = list(islice((name for name in names if name not in fields), _MAX_COMPARED))
        compared = [name for name in unknown if len(name) >= _MIN_NAME_LENGTH]
        candidates = {name: closest(name[:_MAX_NAME_LENGTH], missing) for name in compared}
        self.near_misses = {name: field for name, field in candidates.items() if field}
        """Each name that looks misspelled, with the missing field that it comes closest to."""
        self._ignored = [name for name in unknown if name not in self.near_misses][:MAX_WARNINGS]

    @property
    def errors(self) -> list[FieldError]:
        """An error for each near miss."""
        return [
            FieldError(field=_shortened(name), message=f"{_shortened(name)} is not known; did you mean {field}?")
            for name, field in self.near_misses.items()
        ]

    @property
    def warnings(self) -> list[FieldWarning]:
        """A warning for each of the other names, up to a limit."""
        return [
            FieldWarning(field=_shortened(name), message=f"{_shortened(name)} is not known and was ignored.")
            for name in self._ignored
        ]


def refuse_near_misses(model: type[BaseModel], given: Iterable[str]) -> None:
    """End the request with a 400 if one of the `given` names is a near miss of a missing field of `model`."""
    if errors := UnknownFields(model, given).errors:
        abort(bad_request(errors))


def _shortened(name: str) -> str:
    short = name if len(name) <= _MAX_NAME_LENGTH else f"{name[:_MAX_NAME_LENGTH]}…"
    return short or '""'
