"""Which errors of Redis pass by themselves, and which say that something is wrong for good.

Redis is away, loading, full, read-only or moving its slots: waiting helps, however long it takes. An argument it cannot
take or a key of the wrong type is a fault that the same call meets again for ever, and nobody should wait for that.
"""

from __future__ import annotations

import re

from redis.exceptions import (
    AskError,
    ClusterDownError,
    DataError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

# MasterDownError is a ClusterDownError, MovedError an AskError; LOADING and a refused password are connection errors.
_PASSING = (AskError, ClusterDownError, NoScriptError, OutOfMemoryError, ReadOnlyError, TryAgainError)
# Answers for which redis-py has no class of their own, or none when Redis 6 quotes them: a long script, a disk that
# takes no writes, too few replicas, a fail-over.
_PASSING_CODES = {"BUSY", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY", "UNBLOCKED"}
# What a command of a script is answered comes from Redis 6 within an error of another kind.
_QUOTED = re.compile(r"Error running script .*: -(?P<code>[A-Z]+) ")


def is_transient(error: RedisError) -> bool:
    """Whether the same call may succeed later without anything being mended in this program or its data."""
    if isinstance(error, ResponseError):
        return isinstance(error, _PASSING) or code(error) in _PASSING_CODES
    return not isinstance(error, DataError)


def code(error: ResponseError) -> str:
    """The word that names the kind of an answer, such as MISCONF, unless redis-py has a class for it."""
    quoted = _QUOTED.match(str(error))
    return quoted["code"] if quoted else str(error).partition(" ")[0]
