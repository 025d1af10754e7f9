"""Each alert fires when it should and not otherwise, says what to do, and is explained in docs/monitoring.md."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from config import ROOT

RULES = ROOT / "deploy" / "monitoring" / "prometheus-rules.yaml"
SITUATIONS = Path(__file__).with_name("alerts.yaml")
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
}


def annotations(alert: str, labels: dict[str, str], summary: str) -> dict[str, str]:
    """What `alert` says with these labels and this summary."""
    texts = {**ALERTS[alert]["annotations"], "summary": summary}
    for name, value in labels.items():
        texts["description"] = texts["description"].replace(f"{{{{ $labels.{name} }}}}", value)
    return texts


def expectations(situations: dict[str, Any]) -> list[dict[str, Any]]:
    return [expected for situation in situations["tests"] for expected in situation["alert_rule_test"]]


def test_each_alert_fires_in_its_situations_and_in_no_other(tmp_path: Path) -> None:
    promtool = shutil.which("promtool") or pytest.skip("needs promtool: apt-get install prometheus")
    situations = yaml.safe_load(SITUATIONS.read_text())
    situations["rule_files"] = [str(RULES)]
    for expected in expectations(situations):
        for alert in expected["exp_alerts"]:
            labels, summary = alert["exp_labels"], alert.pop("summary")
            alert["exp_annotations"] = annotations(expected["alertname"], labels, summary)
    tests = tmp_path / "alerts.yaml"
    tests.write_text(yaml.safe_dump(situations))
    for command in (["check", "rules", RULES], ["test", "rules", tests]):
        run = subprocess.run([promtool, *command], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_the_situations_of_an_alert_include_one_in_which_it_fires_and_one_in_which_it_does_not(alert: str) -> None:
    situations = yaml.safe_load(SITUATIONS.read_text())
    fires = {bool(expected["exp_alerts"]) for expected in expectations(situations) if expected["alertname"] == alert}
    assert fires == {True, False}


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_a_severity_a_delay_and_texts_and_leads_to_a_heading_of_the_documentation(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert re.fullmatch(r"\d+[mh]", rule["for"])
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    path, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert not anchor or anchor in anchors


def test_the_documentation_explains_exactly_these_alerts_with_their_severity() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(Uvr\w+)` \| (\w+) \|", page, re.MULTILINE))
    assert rows == {alert: rule["labels"]["severity"] for alert, rule in ALERTS.items()}


def test_the_chart_has_the_same_rules() -> None:
    copies = list(ROOT.glob("deploy/helm/*/rules/*.yaml"))
    assert [copy for copy in copies if copy.read_text() != RULES.read_text()] == []
