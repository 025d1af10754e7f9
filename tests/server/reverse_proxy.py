"""Caddy and nginx with the files in deploy/proxy, on free ports and with a certificate of the test.

Only the ports, the certificate and the folders differ from what an operator installs. Clients believe that they talk to
https://stems.example.com: `Browser` connects that name to the proxy.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import trustme
from requests.adapters import HTTPAdapter

from tests.support.ports import free_ports
from tests.support.service import ROOT
from tests.support.waiting import eventually

HOST = "stems.example.com"
FILES = ROOT / "deploy" / "proxy"


@dataclass(frozen=True)
class Place:
    """Where a proxy listens, where the API does, and where the files of the proxy are."""

    folder: Path
    http_port: int
    https_port: int
    api_port: int

    @property
    def certificate(self) -> Path:
        return self.folder / "server.pem"

    @property
    def authority(self) -> Path:
        return self.folder / "authority.pem"


class Browser(requests.Session):
    """A client that finds stems.example.com at a proxy, and connects from the address `address`."""

    def __init__(self, place: Place, address: str = "127.0.0.2") -> None:
        super().__init__()
        self.trust_env = False
        self.verify = str(place.authority)
        self.mount("https://", _Connected(place.https_port, address, server_hostname=HOST, assert_hostname=HOST))
        self.mount("http://", _Connected(place.http_port, address))


class _Connected(HTTPAdapter):
    def __init__(self, port: int, address: str, **pool_options: Any) -> None:
        self._port = port
        self._pool_options = {"source_address": (address, 0), **pool_options}
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options, **self._pool_options)

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        sent = request.copy()
        assert request.url
        url = urlsplit(request.url)
        sent.headers["Host"] = url.netloc
        sent.url = url._replace(netloc=f"127.0.0.1:{self._port}").geturl()
        answer = super().send(sent, *arguments, **options)
        answer.request, answer.url = request, request.url
        return answer


@contextmanager
def reverse_proxy(name: str, folder: Path, api_port: int) -> Iterator[tuple[Place, subprocess.Popen[bytes]]]:
    """A running proxy, "caddy" or "nginx"; skips the test if this machine does not have it."""
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if not program:
        pytest.skip(f"needs {name}: make test-server installs it where it may")
    place = Place(folder, *free_ports(2), api_port)
    _make_certificate(place)
    command = _COMMANDS[name](program, place)
    environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        eventually(lambda: _answers(place, process), f"{name} answers", every_s=0.05)
        yield place, process
    finally:
        process.terminate()
        process.wait(30)


def _answers(place: Place, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, (place.folder / "log").read_text(errors="replace")
    try:
        return Browser(place).get(f"https://{HOST}/health", timeout=10).status_code == 200
    except requests.RequestException:
        return False


def _make_certificate(place: Place) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(place.authority))
    authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(str(place.certificate))


def _caddy(program: str, place: Place) -> list[str]:
    """Let Caddy translate its file, and change in the result what belongs to this machine."""
    text = (FILES / "Caddyfile").read_text(encoding="utf-8")
    file = place.folder / "Caddyfile"
    file.write_text(replaced(text, {"127.0.0.1:8000": f"127.0.0.1:{place.api_port}"}), encoding="utf-8")
    adapt = [program, "adapt", "--adapter", "caddyfile", "--config", str(file)]
    config = json.loads(subprocess.run(adapt, capture_output=True, text=True, check=True).stdout)
    http = config["apps"]["http"]
    [server] = http["servers"].values()
    assert server["listen"] == [":443"]
    server["listen"] = [f"127.0.0.1:{place.https_port}"]
    server["automatic_https"] = {"disable_certificates": True}
    http |= {"http_port": place.http_port, "https_port": place.https_port}
    pem = str(place.certificate)
    config["apps"]["tls"] = {"certificates": {"load_files": [{"certificate": pem, "key": pem}]}}
    config["admin"] = {"disabled": True}
    running = place.folder / "caddy.json"
    running.write_text(json.dumps(config), encoding="utf-8")
    return [program, "run", "--config", str(running)]


def _nginx(program: str, place: Place) -> list[str]:
    """Include the file where Debian's nginx.conf includes it, with the same defaults."""
    site = place.folder / "uvr-api"
    own = {
        "listen 80;": f"listen 127.0.0.1:{place.http_port};",
        "listen 443 ": f"listen 127.0.0.1:{place.https_port} ",
        "/etc/letsencrypt/live/stems.example.com/fullchain.pem": str(place.certificate),
        "/etc/letsencrypt/live/stems.example.com/privkey.pem": str(place.certificate),
        "/var/log/nginx": str(place.folder),
        "127.0.0.1:8000": f"127.0.0.1:{place.api_port}",
    }
    text = (FILES / "nginx.conf").read_text(encoding="utf-8")
    site.write_text(re.sub(r"\n    listen \[::\].*", "", replaced(text, own)), encoding="utf-8")
    temporary = "\n".join(
        f"{kind}_temp_path {place.folder / kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = place.folder / "nginx.conf"
    user = "user root;" if os.getuid() == 0 else ""
    main.write_text(
        f"{user} daemon off; pid {place.folder}/nginx.pid; error_log stderr;\n"
        f"events {{}}\nhttp {{ access_log off; gzip on; {temporary}\ninclude {site}; }}\n",
        encoding="utf-8",
    )
    return [program, "-p", str(place.folder), "-e", "stderr", "-c", str(main)]


def replaced(text: str, parts: dict[str, str]) -> str:
    """`text` with each of `parts` replaced; all of them must be there."""
    for part, own in parts.items():
        assert part in text, part
        text = text.replace(part, own)
    return text


_COMMANDS: dict[str, Callable[[str, Place], list[str]]] = {"caddy": _caddy, "nginx": _nginx}
