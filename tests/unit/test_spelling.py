"""Near misses are recognized; names that other programs use are not near misses."""

from __future__ import annotations

import pytest

from config import Settings
from uvr.spelling import closest, near_miss

SETTINGS = [name.upper() for name in Settings.model_fields]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("hookurl", "hook_url"), ("Hook-URL", "hook_url"), ("priorty", "priority"), ("colour", ""), ("", "")],
)
def test_the_closest_field_is_suggested(name: str, meant: str) -> None:
    assert closest(name, ["audio", "hook_url", "priority"]) == meant


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MODEL_NAM", "MODEL_NAME"),
        ("API_PROT", "API_PORT"),
        ("REDIS_PASWORD", "REDIS_PASSWORD"),
        ("MIN_FREE_BYTE", "MIN_FREE_BYTES"),
        ("REDIS_HOSTNAME_OF_MINE", ""),
    ],
)
def test_a_typing_error_in_one_word_is_a_near_miss(name: str, meant: str) -> None:
    assert near_miss(name, SETTINGS) == meant


FOREIGN = """
HOME PATH PWD LANG LC_ALL USER LOGNAME TMPDIR TEMP SHELL TERM HOSTNAME NODE_IP NODE_ENV NODE_NAME APP_HOST APP_PORT
API_KEY API_URL REDIS_SERVICE_HOST REDIS_SERVICE_PORT REDIS_PORT_6379_TCP REDIS_PORT_6379_TCP_ADDR LOGLEVEL DEVICES
AWS_DEFAULT_REGION AWS_SESSION_TOKEN AWS_PROFILE HTTP_PROXY NO_PROXY PYTHONPATH VIRTUAL_ENV SSL_CERT_FILE
XDG_RUNTIME_DIR KUBERNETES_SERVICE_HOST OMP_NUM_THREADS CUDA_VISIBLE_DEVICES PIP_INDEX_URL UV_CACHE_DIR
"""


@pytest.mark.parametrize("name", FOREIGN.split())
def test_variables_of_other_programs_are_no_near_misses(name: str) -> None:
    assert near_miss(name, SETTINGS) == ""
