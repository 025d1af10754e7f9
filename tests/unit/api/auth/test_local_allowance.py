"""The allowance that one process counts itself while Redis cannot."""

from __future__ import annotations

from flask import Flask
from werkzeug.exceptions import HTTPException

from uvr.api.auth.rate_limits import LocalAllowance


def test_five_uses_are_free_and_then_one_comes_back_each_second() -> None:
    now_s = 1000.0
    allowance = LocalAllowance(lambda: now_s)

    def uses(times: int) -> list[str]:
        """`used`, or the Retry-After of the refusal, for each use."""
        found = []
        for _ in range(times):
            try:
                allowance.take()
            except HTTPException as refusal:
                found.append(refusal.get_response().headers["Retry-After"])
            else:
                found.append("used")
        return found

    with Flask("test").app_context():
        assert uses(7) == ["used"] * 5 + ["1"] * 2
        now_s += 1
        assert uses(2) == ["used", "1"]
        now_s += 60
        assert uses(6) == ["used"] * 5 + ["1"]
