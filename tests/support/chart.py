"""The Helm chart as tests see it: rendered by Helm itself, as objects, with what Kubernetes would make of them."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "uvr-api"
EXAMPLES = sorted(path.stem for path in (CHART.parent / "examples").glob("*.yaml"))
RELEASE, NAMESPACE = "stems", "audio"

Object = dict[str, Any]


def example(name: str, **changes: Any) -> Object:
    """The values of an example, with `changes` merged into them."""
    values = yaml.safe_load((CHART.parent / "examples" / f"{name}.yaml").read_text(encoding="utf-8"))
    return merged(values, changes)


def merged(values: Object, changes: Object) -> Object:
    """A copy of `values` with `changes` in it, map by map, as Helm merges values; None removes a key."""
    result = deepcopy(values)
    for key, change in changes.items():
        is_map = isinstance(change, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], change) if is_map else change
    return result


def render(values: Object, release: str = RELEASE) -> Rendered:
    """The objects that `helm install` would send under this name. Raises `HelmError` if it would refuse the values."""
    helm = pytest.importorskip("helm_python", reason="there is no Helm library for this machine")
    with helm.Chart.load(CHART) as chart:
        chart.validate_schema(chart.merge_values(values))
        texts: dict[str, str] = chart.render(values, name=release, namespace=NAMESPACE, is_install=True)
    manifests = [text for name, text in texts.items() if not name.endswith("NOTES.txt")]
    found = [it for text in manifests for it in yaml.load_all(text, Loader=yaml.CSafeLoader) if it is not None]
    return Rendered(found)


@dataclass(frozen=True)
class Rendered:
    """Objects that lie in one namespace."""

    objects: list[Object]

    def of_kind(self, kind: str) -> list[Object]:
        return [it for it in self.objects if it["kind"] == kind]

    def one(self, kind: str, ending: str = "") -> Object:
        """The object of this kind whose name ends so."""
        [found] = [it for it in self.of_kind(kind) if it["metadata"]["name"].endswith(ending)]
        return found

    @property
    def settings(self) -> dict[str, str]:
        """The ConfigMap that all containers read."""
        data: dict[str, str] = self.one("ConfigMap", "-settings")["data"]
        return data

    @property
    def pods(self) -> dict[str, Object]:
        """The pods' templates by component."""
        return {
            it["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]: it["spec"]["template"]
            for it in self.of_kind("Deployment")
        }

    def container(self, name: str) -> Object:
        [found] = [it for pod in self.pods.values() for it in containers_of(pod["spec"]) if it["name"] == name]
        return found

    def policy(self, component: str) -> NetworkPolicy:
        return NetworkPolicy(self.one("NetworkPolicy", f"-{component}")["spec"])


def containers_of(pod: Object) -> list[Object]:
    """All containers of a pod's spec, those that run before the others included."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def variables(container: Object) -> dict[str, Object]:
    """The variables of a container besides those of the ConfigMap, by name."""
    return {variable["name"]: variable for variable in container.get("env", [])}


def environment(rendered: Rendered, name: str, pod_name: str, secrets: dict[tuple[str, str], str]) -> dict[str, str]:
    """The variables of a container as its process sees them; `secrets` has the contents by Secret and key."""
    found = dict(rendered.settings)
    for variable in variables(rendered.container(name)).values():
        source = variable.get("valueFrom", {})
        if "secretKeyRef" in source:
            found[variable["name"]] = secrets[source["secretKeyRef"]["name"], source["secretKeyRef"]["key"]]
        elif "fieldRef" in source:
            assert source["fieldRef"]["fieldPath"] == "metadata.name"
            found[variable["name"]] = pod_name
        else:
            found[variable["name"]] = variable["value"]
    return found


@dataclass(frozen=True)
class NetworkPolicy:
    """Where the pods of a policy may connect to."""

    spec: Object

    def admits(self, target: str, port: int) -> bool:
        """Whether a connection to `target` is allowed: an address, or the name of a namespace."""
        return any(self._rule_admits(rule, target, port) for rule in self.spec["egress"])

    def _rule_admits(self, rule: Object, target: str, port: int) -> bool:
        if "ports" in rule and port not in [it["port"] for it in rule["ports"] if it.get("protocol") == "TCP"]:
            return False
        return "to" not in rule or any(_is_peer(peer, target) for peer in rule["to"])


def _is_peer(peer: Object, target: str) -> bool:
    if "namespaceSelector" in peer:
        return bool(peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] == target)
    try:
        address = ip_address(target)
    except ValueError:
        return False
    block = peer["ipBlock"]
    excluded: Iterator[str] = iter(block.get("except", []))
    return address in ip_network(block["cidr"]) and not any(address in ip_network(it) for it in excluded)
