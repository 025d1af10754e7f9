"""The promises of docs/operations.md. tests/acceptance/test_documentation.py runs its commands."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.support.s3_server import ADMIN, S3Server

ROOT = Path(__file__).resolve().parents[3]
DOCS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_the_lifecycle_rule_is_taken_by_a_bucket(s3: S3Server) -> None:
    [rule] = re.findall(r"```json\n(.+?)```", DOCS, re.DOTALL)
    client = s3.client(ADMIN)
    client.create_bucket(Bucket="with-a-lifecycle")
    client.put_bucket_lifecycle_configuration(Bucket="with-a-lifecycle", LifecycleConfiguration=json.loads(rule))
    [taken] = client.get_bucket_lifecycle_configuration(Bucket="with-a-lifecycle")["Rules"]
    assert taken["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert taken["Expiration"]["Days"] == 30


def test_events_worth_an_alarm_are_logged_somewhere() -> None:
    [table] = re.findall(r"Events worth an alarm:\n(.+?)\n## ", DOCS, re.DOTALL)
    sources = "".join(path.read_text(encoding="utf-8") for path in [*ROOT.glob("*.py"), *(ROOT / "uvr").rglob("*.py")])
    events = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", table))
    assert len(events) >= 10
    assert {event for event in events if f'"{event}"' not in sources} == set()
