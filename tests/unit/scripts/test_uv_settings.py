"""scripts/uv.py passes the settings of pip to uv."""

from __future__ import annotations

import re
import subprocess

from config import ROOT
from scripts.uv import index, pip_settings, uv_variables

LISTING = """\
:env:.extra-index-url='https://two.example/simple'
global.index-url='https://mirror.example/simple'
global.timeout='60'
install.find-links='/wheels\\n/more'
global.extra-index-url='https://one.example/simple'
"""


def test_settings_of_the_environment_win_over_files_and_install_over_global():
    listing = "install.index-url='b'\n:env:.index-url='c'\nglobal.index-url='a'\n"
    assert pip_settings(listing) == {"index-url": "c"}
    assert pip_settings("install.index-url='b'\nglobal.index-url='a'\n") == {"index-url": "b"}


def test_values_over_several_lines_become_one():
    assert pip_settings(LISTING)["find-links"] == "/wheels /more"


def test_settings_reach_uv_under_its_own_names():
    assert uv_variables(pip_settings(LISTING), {}, extras=True) == {
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_INDEX": "https://two.example/simple",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }


def test_variables_of_uv_win_under_their_older_names_too():
    environment = {"UV_INDEX_URL": "https://mine.example/simple", "UV_FIND_LINKS": "/mine"}
    variables = uv_variables(pip_settings(LISTING), environment, extras=True)
    assert not variables.keys() & {"UV_DEFAULT_INDEX", "UV_FIND_LINKS"}
    assert "UV_INDEX" in variables


def test_locking_looks_into_the_main_index_alone():
    assert uv_variables(pip_settings(LISTING), {}, extras=False).keys() == {"UV_DEFAULT_INDEX", "UV_INDEX_STRATEGY"}


def test_the_index_is_named_without_its_password() -> None:
    settings = pip_settings("global.index-url='https://user:hush@mirror.example/simple'")
    assert index(settings, {}) == "https://mirror.example/simple"
    assert index(settings, {"UV_INDEX_URL": "https://mine.example/simple"}) == "https://mine.example/simple"
    assert index({}, {}) == "the Python package index"


def test_setup_shows_large_downloads_and_errors_and_no_lists() -> None:
    filtered = re.search(
        r"^without_lists\(\) .*?^}", (ROOT / "scripts" / "setup.sh").read_text(), re.MULTILINE | re.DOTALL
    )
    assert filtered
    shown = ["Downloading av (34.1MiB)", "Downloading torch (175.0MiB)", " Downloaded av", "error: no such package"]
    noise = [
        "Resolved 3 packages in 2ms",
        "Downloading six (11.2KiB)",
        "Downloading numpy (2.1MiB)",
        " Downloaded numpy",
    ]
    output = [noise[0], shown[0], *noise[1:3], shown[1], noise[3], shown[2], " + av==18.1.0", shown[3]]
    script = f"{filtered[0]}\nwithout_lists"
    done = subprocess.run(
        ["bash", "-c", script], input="\n".join([*output, ""]), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == shown
