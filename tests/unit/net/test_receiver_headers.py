"""WEBHOOK_HEADERS: which receiver gets which headers, and error messages without values."""

from __future__ import annotations

import json
import re

import pytest

from config import ROOT, SettingsError, read_settings
from uvr.net.receiver_headers import parse_receiver_headers

pytestmark = pytest.mark.usefixtures("bare_environment")


@pytest.mark.parametrize(
    ("receiver", "origin"),
    [
        ("hooks.example.com", "https://hooks.example.com:443"),
        ("Hooks.Example.com:8443", "https://hooks.example.com:8443"),
        ("https://hooks.example.com", "https://hooks.example.com:443"),
        ("http://backend:8080", "http://backend:8080"),
        ("http://10.1.2.3", "http://10.1.2.3:80"),
        ("[fd00::1]:8443", "https://[fd00::1]:8443"),
    ],
)
def test_receiver_is_a_scheme_a_host_and_a_port_with_https_as_default(receiver, origin):
    assert parse_receiver_headers(json.dumps({receiver: {"X-Key": "a b"}})) == {origin: {"X-Key": "a b"}}


def test_basic_credentials_become_an_authorization_header():
    setting = '{"hooks.example.com": {"basic_auth": "uvr:open sesame"}}'
    assert parse_receiver_headers(setting)["https://hooks.example.com:443"] == {
        "Authorization": "Basic dXZyOm9wZW4gc2VzYW1l"
    }


def test_the_example_in_the_documentation_works_in_an_env_file(monkeypatch, tmp_path):
    docs = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    [line] = re.findall(r"^WEBHOOK_HEADERS=.+$", docs, re.MULTILINE)
    (tmp_path / ".env").write_text(line + "\n")
    monkeypatch.setenv("ENV_FILE", str(tmp_path / ".env"))
    headers = read_settings().webhook_headers
    assert headers["https://hooks.example.com:443"]["Authorization"].get_secret_value() == "Bearer SECRET"
    assert headers["http://10.1.2.3:8080"]["Authorization"].get_secret_value() == "Basic dXNlcjpwYXNzd29yZA=="


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("Authorization: Bearer SECRET", "write it as JSON"),
        ('["SECRET"]', "write it as JSON"),
        ('{"hooks.example.com": "Bearer SECRET"}', "write it as JSON"),
        ('{"hooks.example.com/SECRET": {}}', "is not a receiver"),
        ('{"https://user:SECRET@hooks.example.com": {}}', "hooks.example.com is not a receiver"),
        ('{"*.example.com": {}}', "is not a receiver"),
        ('{"": {}}', "is not a receiver"),
        ('{"hooks.example.com:65536": {}}', "is not a receiver"),
        ('{"a.example": {}, "https://A.example:443": {}}', "named twice"),
        ('{"a.example": {"X-Key": ["SECRET"]}}', "the value of X-Key for a.example must be a string"),
        ('{"a.example": {"X-Key": "SECRET\\r\\nX-Other: 1"}}', "the value of X-Key for a.example must be a string"),
        ('{"a.example": {"X-Key": ""}}', "the value of X-Key for a.example must be a string"),
        ('{"a.example": {"X Key": "SECRET"}}', "cannot be given the header X Key"),
        ('{"a.example": {"Host": "SECRET"}}', "cannot be given the header Host"),
        ('{"a.example": {"Webhook-Signature": "SECRET"}}', "cannot be given the header Webhook-Signature"),
        ('{"a.example": {"basic_auth": "SECRET"}}', "basic_auth for a.example must be written as user:password"),
    ],
)
def test_error_does_not_contain_the_secret(monkeypatch, setting, words):
    monkeypatch.setenv("WEBHOOK_HEADERS", setting)
    with pytest.raises(SettingsError, match=r"^WEBHOOK_HEADERS: ") as refused:
        read_settings()
    assert words in str(refused.value)
    assert "SECRET" not in str(refused.value).replace("hooks.example.com/SECRET", "")


def test_values_do_not_show_in_the_settings_text(monkeypatch):
    monkeypatch.setenv("WEBHOOK_HEADERS", '{"a.example": {"X-Key": "do-not-show"}}')
    monkeypatch.setenv("FETCH_PROXY", "http://me:do-not-show@proxy.example:3128")
    settings = read_settings()
    assert settings.webhook_headers["https://a.example:443"]["X-Key"].get_secret_value() == "do-not-show"
    assert "do-not-show" not in repr(settings)


@pytest.mark.parametrize(
    "url", ["http://proxy", "http://proxy.example:3128/", "http://me:p%40ss@[fd00::1]:3128", "http://10.0.0.1:8080"]
)
def test_proxy_is_an_http_url(monkeypatch, url):
    monkeypatch.setenv("WEBHOOK_PROXY", url)
    assert read_settings().webhook_proxy.get_secret_value() == url


@pytest.mark.parametrize(
    "url",
    [
        "proxy.example:3128",
        "https://p:1",
        "socks5://p:1080",
        "http://me:SEC@RET@p:1",
        "http://me:RET@p:65536",
        "http://p:1/path",
        "http://",
    ],
)
def test_error_about_a_proxy_does_not_contain_its_password(monkeypatch, url):
    monkeypatch.setenv("FETCH_PROXY", url)
    with pytest.raises(SettingsError, match=r"^FETCH_PROXY: write it as http://proxy\.example\.com:3128") as refused:
        read_settings()
    assert "RET" not in str(refused.value)
