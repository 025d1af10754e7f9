"""The files of the chart that repeat others agree with them, and Helm itself finds nothing wrong with the chart."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from config import VERSION, Settings
from scripts.chart.__main__ import generated
from scripts.chart.schema import FOR_CLIENTS, SET_BY_CHART, secret_settings
from tests.support.chart import CHART, EXAMPLES, NAMESPACE, ROOT, example

RULES = CHART / "rules" / "uvr-api.yaml"
MONITORING_RULES = ROOT / "deploy" / "monitoring" / "prometheus-rules.yaml"


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["values.schema.json", "README.md"])
def test_generated_files_are_up_to_date(name: str) -> None:
    assert text_of(CHART / name) == generated()[name], "run `make chart`"


def test_every_setting_can_be_set_somewhere() -> None:
    definitions = json.loads(text_of(CHART / "values.schema.json"))["$defs"]
    settings, secrets = (set(definitions[name]["properties"]) for name in ("settings", "secrets"))
    assert not settings & secrets
    others = {name.upper() for name in SET_BY_CHART | FOR_CLIENTS}
    assert settings | secrets | others == {name.upper() for name in Settings.model_fields}


def test_every_secret_is_explained() -> None:
    values = text_of(CHART / "values.yaml")
    assert [name.upper() for name in secret_settings() if not re.search(rf"\b{name.upper()}\b", values)] == []


def test_chart_and_service_have_one_version() -> None:
    chart = yaml.safe_load(text_of(CHART / "Chart.yaml"))
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)


@pytest.mark.parametrize("name", EXAMPLES)
def test_helm_finds_nothing_wrong(name: str) -> None:
    helm = pytest.importorskip("helm_python", reason="there is no Helm library for this machine")
    report = helm.lint(CHART, example(name), strict=True, namespace=NAMESPACE)
    findings = [it for it in report["messages"] if "icon is recommended" not in it["error"]]
    assert (report["errors"], findings) == ([], [])


def test_the_alerts_are_those_of_the_monitoring_folder() -> None:
    if not MONITORING_RULES.exists():
        pytest.skip("there are no other rules yet")
    assert yaml.safe_load(text_of(RULES)) == yaml.safe_load(text_of(MONITORING_RULES))


def test_the_package_holds_what_the_chart_needs() -> None:
    helm = pytest.importorskip("helm_python", reason="there is no Helm library for this machine")
    with helm.Chart.load(CHART) as chart:
        names = {file["name"] for file in chart.files}
        assert chart.schema is not None
    assert {"README.md", "rules/uvr-api.yaml"} <= names
