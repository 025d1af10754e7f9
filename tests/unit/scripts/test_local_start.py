"""The saved hashes of the settings of a local process, and how a failed start is explained."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from config import Settings
from scripts.local.__main__ import directions
from scripts.local.failure import explain, reason_in
from scripts.local.process import Process
from scripts.local.saved_settings import REDIS_SETTINGS, SERVICE_SETTINGS, changed_settings, save_hashes


def settings(**values: object) -> Settings:
    return Settings.model_validate(values)


def test_settings_with_other_values_than_at_the_start_are_named(tmp_path: Path) -> None:
    file = tmp_path / "api.settings"
    save_hashes(file, settings(redis_password="first", api_port=8001), SERVICE_SETTINGS)
    assert changed_settings(file, settings(redis_password="first", api_port=8001)) == set()
    now = settings(redis_password="second", api_port=8001, max_audio_seconds=60)
    assert changed_settings(file, now) == {"redis_password", "max_audio_seconds"}


def test_only_what_a_process_reads_counts(tmp_path: Path) -> None:
    save_hashes(tmp_path / "redis.settings", settings(), REDIS_SETTINGS)
    save_hashes(tmp_path / "api.settings", settings(), SERVICE_SETTINGS)
    assert changed_settings(tmp_path / "redis.settings", settings(model_name="Kim_Inst")) == set()
    assert changed_settings(tmp_path / "api.settings", settings(uvr_url="http://example.org")) == set()


def test_equal_passwords_leave_different_hashes_for_this_user_only(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_hashes(tmp_path / name, settings(redis_password="hush"), REDIS_SETTINGS)
    one, two = ((tmp_path / name).read_text() for name in ("one", "two"))
    assert "hush" not in one
    assert json.loads(one)["hashes"]["redis_password"] != json.loads(two)["hashes"]["redis_password"]
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"salt": "a", "hashes": {"gone_since": "b"}}'])
def test_a_damaged_or_older_file_names_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "api.settings").write_text(content)
    assert changed_settings(tmp_path / "api.settings", settings()) == set()
    assert changed_settings(tmp_path / "no.settings", settings()) == set()


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["Traceback (most recent call last):", "  File …", "ModuleNotFoundError: No module named 'flask'"],
         "ModuleNotFoundError: No module named 'flask'"),
        (['{"event": "processor.not_started", "error": "There is no such model.", "level": "error"}',
          '{"event": "worker.stopped", "level": "info"}'], "There is no such model."),
        (['{"event": "worker.died", "level": "critical"}', ""], "worker.died"),
        (["[]", "no JSON", " "], "no JSON"),
        ([], ""),
    ],
)  # fmt: skip
def test_the_reason_is_the_error_logged_last_or_the_last_line(lines: list[str], reason: str) -> None:
    assert reason_in(lines) == reason


def test_the_explanation_of_a_process_without_output_names_its_log_file(tmp_path: Path) -> None:
    (tmp_path / "api.log").touch()
    process = Process("api", tmp_path, tmp_path)
    assert explain(process, "api did not start") == f"api did not start, and it wrote nothing to {tmp_path}/api.log."


def test_the_directions_name_page_user_and_password_as_far_as_others_may_see_them() -> None:
    mine = settings(basic_auth_username="anna", basic_auth_password="a secret of mine", api_port=8123)
    shown = directions(mine, shows_password=True)
    assert "  page      http://127.0.0.1:8123/  (" in shown
    assert "  user      anna\n  password  a secret of mine\n" in shown
    assert "  password  BASIC_AUTH_PASSWORD in .env\n" in directions(mine)
    assert "secret" not in directions(mine)
    assert "page" not in directions(settings(console=False))
