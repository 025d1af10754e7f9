"""Run uv with the package index that pip is configured with, so that a mirror has to be configured only once.

uv reads neither the PIP_* variables nor pip.conf. The variables of uv take precedence if they are set.
MAIN_INDEX_ONLY=1 ignores extra indexes and find-links: the lock files must contain the hashes of all files of a
release, for every platform, not only of those on this machine.

`uv.py --show-index` prints where packages come from. This program runs before anything except pip and uv is installed,
so it uses only the standard library.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_MAIN = {
    "index-url": "UV_DEFAULT_INDEX",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
    "trusted-host": "UV_INSECURE_HOST",
}
_EXTRA = {"extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS", "no-index": "UV_NO_INDEX"}
_OLDER_NAMES = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}
_DEFAULT_INDEX = "the Python package index"
_SECTIONS = ("global", "install", ":env:")
"""The sections in which pip looks for a setting when it installs; later ones take precedence."""


def pip_settings(listing: str) -> dict[str, str]:
    """Settings by name from the output of `pip config list`; several values of a setting are separated by spaces."""
    lines = [line.partition("=") for line in listing.splitlines()]
    settings: dict[str, str] = {}
    for section in _SECTIONS:
        for key, _, value in lines:
            if key.startswith(f"{section}."):
                settings[key.removeprefix(f"{section}.")] = " ".join(str(ast.literal_eval(value)).split())
    return settings


def uv_variables(settings: Mapping[str, str], environment: Mapping[str, str], *, extras: bool) -> dict[str, str]:
    """The variables that pass the settings of pip to uv, without those that are already set in the environment."""
    names = _MAIN | _EXTRA if extras else _MAIN
    variables = {names[name]: value for name, value in settings.items() if name in names}
    if "UV_FIND_LINKS" in variables:
        variables["UV_FIND_LINKS"] = variables["UV_FIND_LINKS"].replace(" ", ",")
    # Like pip, look in every index for a locked version; its hash proves that the right file was found.
    variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return {
        name: value
        for name, value in variables.items()
        if name not in environment and _OLDER_NAMES.get(name, name) not in environment
    }


def index(settings: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """The address of the package index without a password, or words for the default one."""
    main = _MAIN["index-url"]
    names = (main, _OLDER_NAMES[main])
    given = next((environment[name] for name in names if environment.get(name)), settings.get("index-url"))
    return re.sub(r"(?<=://)[^/]*@", "", given or _DEFAULT_INDEX)


def main() -> None:
    """Replace this process by uv, or print the index."""
    pip = [sys.executable, "-m", "pip", "config", "list"]
    listing = subprocess.run(pip, check=True, capture_output=True, text=True).stdout
    if sys.argv[1:] == ["--show-index"]:
        print(index(pip_settings(listing), os.environ))
        return
    extras = os.environ.get("MAIN_INDEX_ONLY") != "1"
    uv = Path(sys.executable).with_name("uv")
    environment = {"VIRTUAL_ENV": sys.prefix} | os.environ
    os.execve(uv, ["uv", *sys.argv[1:]], environment | uv_variables(pip_settings(listing), os.environ, extras=extras))


if __name__ == "__main__":
    main()
