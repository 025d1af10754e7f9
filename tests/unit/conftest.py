"""What unit tests share."""

from __future__ import annotations

import pytest

from config import Settings


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the variables of the developer's shell and the checkout's .env out of a test."""
    for name in [*Settings.model_fields, "s3_base_url"]:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("ENV_FILE", "")
