"""Which errors of Redis are transient."""

from __future__ import annotations

import pytest
from redis import exceptions as redis_errors

from uvr.redis.errors import is_transient


@pytest.mark.parametrize(
    "error",
    [
        redis_errors.ConnectionError("Connection refused."),
        redis_errors.TimeoutError("Timeout reading from socket"),
        redis_errors.BusyLoadingError("Redis is loading the dataset in memory"),
        redis_errors.ReadOnlyError("You can't write against a read only replica."),
        redis_errors.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        redis_errors.MasterDownError("Link with MASTER is down and replica-serve-stale-data is set to 'no'."),
        redis_errors.ClusterDownError("The cluster is down"),
        redis_errors.TryAgainError("Multiple keys request during rehashing of slot"),
        redis_errors.NoScriptError("No matching script."),
        redis_errors.ResponseError("BUSY Redis is busy running a script."),
        redis_errors.ResponseError("MISCONF Errors writing to the AOF file: No space left on device"),
        redis_errors.ResponseError("NOREPLICAS Not enough good replicas to write."),
        redis_errors.ResponseError(
            "Error running script (call to f_1e66): @user_script:2: @user_script: 2: -OOM command not allowed."
        ),
        redis_errors.ResponseError(
            "Error running script (call to f_1e66): @user_script:2: @user_script: 2: -READONLY You can't write."
        ),
        redis_errors.ResponseError("UNBLOCKED force unblock from blocking operation, instance state changed"),
    ],
    ids=lambda error: type(error).__name__ + str(error)[-12:],
)
def test_transient_errors(error: redis_errors.RedisError) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        redis_errors.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
        redis_errors.ResponseError("ERR wrong number of arguments for 'hset' command script: 1, on @user_script:4."),
        redis_errors.ResponseError(
            "Error running script (call to f_1e66): @user_script:4: WRONGTYPE Operation against a key"
        ),
        redis_errors.ResponseError("BUSYKEY Target key name already exists."),
        redis_errors.ResponseError(""),
        redis_errors.NoPermissionError("User default has no permissions to run the 'evalsha' command"),
        redis_errors.DataError("Invalid input of type: 'NoneType'."),
    ],
    ids=lambda error: type(error).__name__ + str(error)[-12:],
)
def test_errors_that_last(error: redis_errors.RedisError) -> None:
    assert not is_transient(error)
