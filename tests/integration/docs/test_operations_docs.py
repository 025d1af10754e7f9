"""The promises of docs/operations.md. tests/acceptance/test_documentation.py runs its commands."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DOCS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_events_worth_an_alarm_are_logged_somewhere() -> None:
    [table] = re.findall(r"Events worth an alarm:\n(.+?)\n## ", DOCS, re.DOTALL)
    sources = "".join(path.read_text(encoding="utf-8") for path in [*ROOT.glob("*.py"), *(ROOT / "uvr").rglob("*.py")])
    events = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", table))
    assert len(events) >= 10
    assert {event for event in events if f'"{event}"' not in sources} == set()
