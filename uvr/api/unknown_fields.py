"""Fields of a request that nothing here knows.

Clients of other versions may send some: they are passed over, and named in the answer. A near miss of a known field
that is missing is refused, because the client would not get what it asked for: with `hookurl` there is no webhook.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from flask import abort
from pydantic import BaseModel

from uvr.api.problems import FieldError, fields_problem
from uvr.api.schemas.responses import FieldWarning
from uvr.spelling import closest

_MAX_WARNINGS = 20
_MAX_COMPARED = 100
_MAX_NAME_LENGTH = 64


class UnknownFields:
    """Those among the `given` names that `model` has no field for."""

    def __init__(self, model: type[BaseModel], given: Iterable[str]) -> None:
        known = {field.alias or name for name, field in model.model_fields.items()}
        names = list(given)
        missing = known.difference(names)
        # What is long or comes in masses was not written by hand, and comparing it takes time.
        unknown = list(islice((name for name in names if name not in known), _MAX_COMPARED))
        meant = {name: closest(name[:_MAX_NAME_LENGTH], missing) for name in unknown}
        self.meant = {name: field for name, field in meant.items() if field}
        """Near misses: the name that was given, and the missing field that it comes closest to."""
        self._others = [name for name in unknown if name not in self.meant][:_MAX_WARNINGS]

    @property
    def faults(self) -> list[FieldError]:
        """What is wrong with the near misses."""
        return [
            FieldError(field=_shown(name), message=f"{_shown(name)} is not known; did you mean {field}?")
            for name, field in self.meant.items()
        ]

    @property
    def warnings(self) -> list[FieldWarning]:
        """That the others were passed over."""
        return [
            FieldWarning(field=_shown(name), message=f"{_shown(name)} is not known and was passed over.")
            for name in self._others
        ]


def refuse_near_misses(model: type[BaseModel], given: Iterable[str]) -> None:
    """End the request with a 400 if a field of `model` is missing and another name comes close to it."""
    if faults := UnknownFields(model, given).faults:
        abort(fields_problem(faults))


def _shown(name: str) -> str:
    short = name if len(name) <= _MAX_NAME_LENGTH else f"{name[:_MAX_NAME_LENGTH]}…"
    return short or '""'
