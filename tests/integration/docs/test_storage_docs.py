"""The promises of docs/storage.md: its rule and its policy are what a bucket and the service need."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.support.s3_server import ADMIN, S3Server

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "storage.md").read_text(encoding="utf-8")

# https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
RIGHTS = {
    "put_object": "s3:PutObject",
    "upload_file": "s3:PutObject",
    "get_object": "s3:GetObject",
    "head_object": "s3:GetObject",
    "delete_object": "s3:DeleteObject",
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "list_multipart_uploads": "s3:ListBucketMultipartUploads",
    "generate_presigned_url": "s3:GetObject",
}
NEEDED_FOR_PROPER_ANSWERS = "s3:ListBucket"
"""Without it, AWS answers 403 instead of 404 for an object that does not exist."""


def examples() -> tuple[Any, Any]:
    policy, rule = (json.loads(text) for text in re.findall(r"```json\n(.+?)```", PAGE, re.DOTALL))
    return policy, rule


def test_the_lifecycle_rule_is_taken_by_a_bucket(s3: S3Server) -> None:
    _, rule = examples()
    client = s3.client(ADMIN)
    client.create_bucket(Bucket="with-a-lifecycle")
    client.put_bucket_lifecycle_configuration(Bucket="with-a-lifecycle", LifecycleConfiguration=rule)
    [taken] = client.get_bucket_lifecycle_configuration(Bucket="with-a-lifecycle")["Rules"]
    assert taken["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert taken["Expiration"]["Days"] == 30


def test_the_policy_grants_what_the_service_calls_and_nothing_else() -> None:
    policy, _ = examples()
    granted = [action for statement in policy["Statement"] for action in statement["Action"]]
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "uvr" / "storage").glob("*.py"))
    calls = {name for name in RIGHTS if re.search(rf"\b{name}\b", sources)}
    assert set(granted) == {RIGHTS[name] for name in calls} | {NEEDED_FOR_PROPER_ANSWERS}
    assert set(granted) == set(re.findall(r"`(s3:\w+)`", PAGE.partition("### Rights")[2]))


def test_actions_on_objects_and_on_the_bucket_name_the_right_resource() -> None:
    policy, _ = examples()
    for statement in policy["Statement"]:
        on_bucket = {action for action in statement["Action"] if action.startswith("s3:ListBucket")}
        is_of_bucket = not statement["Resource"].endswith("/*")
        assert on_bucket == (set(statement["Action"]) if is_of_bucket else set())
