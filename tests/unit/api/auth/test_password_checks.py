"""The limit on password checks of one process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.waiting import eventually
from uvr.api.auth.password_checks import PasswordChecks, TooManyChecksError

PATIENCE_S = 60.0
"""Longer than `password_checks.PATIENCE_S`, so that a busy machine does not matter."""


def test_strangers_get_one_check_at_a_time_and_known_clients_another() -> None:
    checks = PasswordChecks()
    with checks.one(is_known=False):
        with pytest.raises(TooManyChecksError), checks.one(is_known=False):
            pass
        with checks.one(is_known=True), pytest.raises(TooManyChecksError), checks.one(is_known=True):
            pass
    with checks.one(is_known=False):
        pass


def test_known_clients_may_use_both() -> None:
    checks = PasswordChecks()
    with checks.one(is_known=True), checks.one(is_known=True):
        for is_known in (True, False):
            with pytest.raises(TooManyChecksError), checks.one(is_known=is_known):
                pass


def test_a_check_that_fails_ends_too() -> None:
    checks = PasswordChecks()
    with pytest.raises(ValueError, match="salt"), checks.one(is_known=False):
        raise ValueError("salt")
    with checks.one(is_known=False):
        pass


def test_two_known_clients_may_wait_for_a_check_and_strangers_may_not() -> None:
    checks = PasswordChecks()

    def waits() -> bool:
        with checks.one(is_known=True, patience_s=PATIENCE_S) as has_waited:
            return has_waited

    with ThreadPoolExecutor(2) as pool:
        with checks.one(is_known=True), checks.one(is_known=True):
            waiting = [pool.submit(waits) for _ in range(2)]
            eventually(lambda: not checks._may_wait._value, "both wait")
            for is_known in (True, False):
                with pytest.raises(TooManyChecksError), checks.one(is_known=is_known, patience_s=PATIENCE_S):
                    pass
        assert [call.result() for call in waiting] == [True, True]
