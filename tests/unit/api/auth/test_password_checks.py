"""The limit on password checks of one process."""

from __future__ import annotations

import pytest

from uvr.api.auth.password_checks import PasswordChecks, TooManyChecksError


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
