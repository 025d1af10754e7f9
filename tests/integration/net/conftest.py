"""Each test that asks for `send` runs with both ways out of the service."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.outbound import delivery_error, fetch_error


@pytest.fixture(params=["audio", "hook_url"])
def send(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., str]:
    """Contact a URL as its field would: the message that the client gets, or "" if the URL was reached."""
    return delivery_error if request.param == "hook_url" else partial(fetch_error, destination=tmp_path / "song")
