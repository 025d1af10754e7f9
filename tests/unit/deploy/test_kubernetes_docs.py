"""What docs/kubernetes.md says about the chart is true of what the chart renders."""

from __future__ import annotations

import math
import re

import pytest
import yaml

from scripts.chart.schema import SET_BY_CHART
from tests.support.chart import CHART, ROOT, Rendered, containers_of, example, render, variables

DOCS = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def installed() -> Rendered:
    """The release of the commands: `helm upgrade --install uvr-api …` with the values that the page says to copy."""
    return render(example("small"), release="uvr-api")


def test_commands_name_what_the_chart_makes(installed: Rendered) -> None:
    kinds = {"deploy": "Deployment", "deployment": "Deployment", "service": "Service"}
    names = {(it["kind"], it["metadata"]["name"]) for it in installed.objects}
    named = re.findall(r"^kubectl .*?\b(deploy|deployment|service)/(\S+)", DOCS, re.MULTILINE)
    assert len(named) >= 4
    assert {(kinds[kind], name) for kind, name in named} <= names
    containers = {it["name"] for pod in installed.pods.values() for it in containers_of(pod["spec"])}
    assert set(re.findall(r"--container (\w+)", DOCS)) <= containers


def test_the_secret_of_the_commands_holds_what_the_values_name(installed: Rendered) -> None:
    [file] = re.findall(r"```dotenv\n(.+?)```", DOCS, re.DOTALL)
    [secret] = re.findall(r"create secret generic (\S+) --from-env-file", DOCS)
    keys = set(re.findall(r"^([A-Z_]+)=", file, re.MULTILINE))
    for pod in installed.pods.values():
        for container in containers_of(pod["spec"]):
            for variable in variables(container).values():
                if source := variable.get("valueFrom", {}).get("secretKeyRef"):
                    assert (source["name"], source["key"] in keys) == (secret, True)


def test_the_times_of_a_pod_that_ends_are_those_of_the_chart(installed: Rendered) -> None:
    grace_s = installed.pods["worker"]["spec"]["terminationGracePeriodSeconds"]
    assert f"{grace_s} s by default" in DOCS
    worker = VALUES["worker"]
    for value, seconds in {
        "worker.processor.shutdownGraceSeconds": worker["processor"]["shutdownGraceSeconds"],
        "worker.drainSeconds": worker["drainSeconds"],
        "worker.uploader.shutdownGraceSeconds": worker["uploader"]["shutdownGraceSeconds"],
    }.items():
        assert f"`{value}` ({seconds})" in DOCS


def test_the_table_of_pods_follows_the_formula() -> None:
    [table] = re.findall(r"\| Waiting \| Leased \| Pods \|\n\|.+?\n(.+?)\n\n", DOCS, re.DOTALL)
    keda = VALUES["keda"]
    for waiting, leased, pods in re.findall(r"^\| (\d+) \| (\d+) \| (\d+)", table, re.MULTILINE):
        wanted = math.ceil((int(waiting) + int(leased)) / keda["tasksPerPod"])
        assert int(pods) == max(keda["minReplicas"], min(keda["maxReplicas"], wanted))


def test_settings_that_are_no_settings_of_the_chart_are_listed() -> None:
    listed = set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", DOCS))
    # API_PUBLISHED takes the place of PUBLIC_BASE_URL in Docker Compose.
    assert {name.upper() for name in SET_BY_CHART - {"api_published"}} <= listed
