"""Which errors of Redis are transient, and which last for ever.

When Redis is unreachable, loading, full, read-only or moving its slots, waiting helps, however long it takes. An
argument of the wrong kind or a key of the wrong type fails the same call every time, so waiting is pointless.
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
_TRANSIENT = (AskError, ClusterDownError, NoScriptError, OutOfMemoryError, ReadOnlyError, TryAgainError)
# Answers without a class of their own in redis-py, or without one when Redis 6 quotes them: a long script, a disk that
# accepts no writes, too few replicas, a failover.
_TRANSIENT_CODES = {"BUSY", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY", "UNBLOCKED"}
# Redis 6 wraps the answer to a command inside a script in an error of another kind.
_QUOTED = re.compile(r"Error running script .*: -(?P<code>[A-Z]+) ")


def is_transient(error: RedisError) -> bool:
    """Whether the same call may succeed later although neither this program nor its data changes."""
    if isinstance(error, ResponseError):
        return isinstance(error, _TRANSIENT) or code(error) in _TRANSIENT_CODES
    return not isinstance(error, DataError)


def code(error: ResponseError) -> str:
    """The first word of an error reply, such as MISCONF; redis-py removes it where it has a class for the error."""
    quoted = _QUOTED.match(str(error))
    return quoted["code"] if quoted else str(error).partition(" ")[0]
