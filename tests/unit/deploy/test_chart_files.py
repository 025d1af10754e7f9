"""The files of the chart that repeat others agree with them, and Helm itself finds nothing wrong with the chart."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from config import ROOT, VERSION, Settings
from scripts.chart.__main__ import generated
from scripts.chart.schema import FOR_CLIENTS, SET_BY_CHART, secret_settings
from tests.support.chart import CHART, EXAMPLES, NAMESPACE, example


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_generated_files_are_up_to_date() -> None:
    files = generated()
    assert {"values.schema.json", "README.md"} <= files.keys()
    assert [name for name, text in files.items() if text_of(CHART / name) != text] == [], "run `make chart`"


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


def test_the_package_holds_what_the_chart_needs() -> None:
    helm = pytest.importorskip("helm_python", reason="there is no Helm library for this machine")
    with helm.Chart.load(CHART) as chart:
        names = {file["name"] for file in chart.files}
        assert chart.schema is not None
    assert {"README.md", "rules/uvr-api.yaml"} <= names


def test_the_alerts_use_metrics_that_the_service_shows() -> None:
    metrics = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    groups = yaml.safe_load(text_of(CHART / "rules" / "uvr-api.yaml"))["groups"]
    used = {name for group in groups for rule in group["rules"] for name in re.findall(r"\buvr_\w+", rule["expr"])}
    assert used
    assert {name for name in used if name not in metrics} == set()
