"""The objects of the Helm chart, for three services as operators run them: valid, safe, and true to the service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from config import Settings
from scripts.chart.schema import secret_settings
from tests.support.chart import EXAMPLES, Object, Rendered, containers_of, example, render, variables
from tests.support.used_settings import settings_used_by

SCHEMAS = Path(__file__).resolve().parent / "schemas"
OLDEST = "1.27"
"""The version of Kubernetes in Chart.yaml."""

DOORS = {"api": "app", "processor": "processor", "uploader": "uploader"}
LAST_STEPS_S = 5
"""What a worker may take beyond SHUTDOWN_GRACE_SECONDS (uvr/worker/pool.py)."""


@pytest.fixture(scope="module", autouse=True)
def _schemas_are_read_once() -> Iterator[None]:
    """The library reads the schemas of all kinds again for each object, which takes 60 times as long as the check."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kubernetes_validate.utils, "schema_contents", cache(kubernetes_validate.utils.schema_contents))
        yield


@pytest.fixture(scope="module", params=EXAMPLES)
def rendered(request: pytest.FixtureRequest) -> Rendered:
    return render(example(request.param))


def faults_of(it: Object, version: str) -> str:
    """What the schema of its kind says against an object, "" if nothing."""
    try:
        if (SCHEMAS / f"{it['kind']}.json").exists():
            jsonschema.validate(it, json.loads((SCHEMAS / f"{it['kind']}.json").read_text()))
        else:
            kubernetes_validate.validate(it, version, strict=True)
    except jsonschema.ValidationError as error:
        return f"{it['kind']}: {'.'.join(map(str, error.path))}: {error.message}"
    return ""


def test_there_are_examples_for_a_small_service_for_cards_and_for_arm() -> None:
    assert EXAMPLES == ["arm64", "gpu", "small"]


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
def test_objects_are_valid(rendered: Rendered, version: str) -> None:
    assert [fault for it in rendered.objects if (fault := faults_of(it, version))] == []


def test_what_is_not_valid_is_found() -> None:
    rendered = render(example("arm64"))
    deployment, scaled = rendered.one("Deployment", "-api"), rendered.one("ScaledObject")
    deployment["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    scaled["spec"]["triggers"][0]["metadata"]["lenght"] = "1"
    assert "livenesProbe" in faults_of(deployment, OLDEST)
    assert faults_of(scaled, OLDEST) != ""


def test_pods_obey_the_restricted_standard(rendered: Rendered) -> None:
    # https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    volumes = {"configMap", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    for pod in (template["spec"] for template in rendered.pods.values()):
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert all(volume.keys() - {"name"} <= volumes for volume in pod["volumes"])
        assert pod["automountServiceAccountToken"] is False
        for container in containers_of(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert not any("hostPort" in port for port in container.get("ports", []))


def test_openshift_may_choose_the_user() -> None:
    rendered = render(example("small", security={"runAsUser": None, "runAsGroup": None, "fsGroup": None}))
    for pod in rendered.pods.values():
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & pod["spec"]["securityContext"].keys()
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True


def test_processor_and_uploader_of_a_pod_are_one_node(rendered: Rendered) -> None:
    pair = [rendered.container(name) for name in ("processor", "uploader")]
    for container in pair:
        assert variables(container)["NODE_ID"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
        assert {"name": "data", "mountPath": "/srv/uvr/data"} in container["volumeMounts"]
    pod = rendered.pods["worker"]["spec"]
    assert {container["name"] for container in pod["containers"]} == {"processor", "uploader"}
    [data] = [volume for volume in pod["volumes"] if volume["name"] == "data"]
    assert "emptyDir" in data
    for folder in ("TEMP_DIR", "OUTPUT_DIR"):
        assert rendered.settings[folder].startswith("/srv/uvr/data/")
    # Kubernetes cuts the random end of a pod's name off before 63 characters, and so does NODE_ID's pattern.
    assert Settings.model_fields["node_id"].metadata[0].pattern.endswith("{0,62})?$")


def test_only_what_is_mounted_is_written_to(rendered: Rendered) -> None:
    for name in DOORS:
        writable = {it["mountPath"] for it in rendered.container(name)["volumeMounts"] if not it.get("readOnly")}
        assert writable == {"/srv/uvr/data", "/tmp", *(["/srv/uvr/models"] if name == "processor" else [])}


def test_pods_have_time_to_finish_and_to_store(rendered: Rendered) -> None:
    def grace(name: str) -> int:
        return int(variables(rendered.container(name))["SHUTDOWN_GRACE_SECONDS"]["value"])

    [*command, drain_s] = rendered.container("uploader")["lifecycle"]["preStop"]["exec"]["command"]
    assert command == ["python", "-m", "uvr.liveness.drain"]
    assert int(drain_s) > grace("processor") + LAST_STEPS_S
    worker_s = rendered.pods["worker"]["spec"]["terminationGracePeriodSeconds"]
    assert worker_s > int(drain_s) + grace("uploader") + LAST_STEPS_S
    assert rendered.pods["api"]["spec"]["terminationGracePeriodSeconds"] > grace("api") + 5


def test_probes_restart_what_hangs_and_nothing_because_redis_is_away(rendered: Rendered) -> None:
    for name in DOORS:
        container = rendered.container(name)
        assert all(f"{kind}Probe" in container for kind in ("startup", "readiness", "liveness"))
    for name in ("processor", "uploader"):
        command = rendered.container(name)["livenessProbe"]["exec"]["command"]
        assert command == ["python", "-m", "uvr.liveness.workers", name, "--unless-redis-is-away"]
        # preStop is part of this time: a worker that hangs must not be waited for like one that still stores stems.
        assert rendered.container(name)["livenessProbe"]["terminationGracePeriodSeconds"] <= 60
    assert "httpGet" not in rendered.container("api")["livenessProbe"], "a 503 because of Redis would restart the API"


def test_selectors_select_the_pods_of_their_component(rendered: Rendered) -> None:
    labels = {component: pod["metadata"]["labels"] for component, pod in rendered.pods.items()}

    def selected(selector: dict[str, str]) -> list[str]:
        return [name for name, its in labels.items() if selector.items() <= its.items()]

    for component in ("api", "worker"):
        ending = f"-{component}"
        assert selected(rendered.one("Deployment", ending)["spec"]["selector"]["matchLabels"]) == [component]
        assert selected(rendered.one("PodDisruptionBudget", ending)["spec"]["selector"]["matchLabels"]) == [component]
        assert selected(rendered.one("NetworkPolicy", ending)["spec"]["podSelector"]["matchLabels"]) == [component]
    service = rendered.one("Service")
    assert selected(service["spec"]["selector"]) == ["api"]
    ports = {port["name"]: port["containerPort"] for port in rendered.container("api")["ports"]}
    assert [ports[port["targetPort"]] for port in service["spec"]["ports"]] == [8000]
    for monitor in rendered.of_kind("ServiceMonitor"):
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    for ingress in rendered.of_kind("Ingress"):
        [path] = ingress["spec"]["rules"][0]["http"]["paths"]
        assert path["backend"]["service"] == {"name": service["metadata"]["name"], "port": {"name": "http"}}


def test_secrets_come_from_secrets_and_only_to_those_who_use_them(rendered: Rendered) -> None:
    secret = {name.upper() for name in secret_settings()}
    assert not rendered.settings.keys() & secret
    given = set()
    for name, door in DOORS.items():
        found = variables(rendered.container(name))
        its = found.keys() & secret
        assert all("secretKeyRef" in found[variable]["valueFrom"] for variable in its)
        assert its <= {field.upper() for field in settings_used_by(door)} | {"REDIS_URL"}
        given |= its
    assert {"BASIC_AUTH_PASSWORD", "REDIS_PASSWORD"} <= given
    assert rendered.of_kind("Secret") == []


def test_every_secret_reaches_each_process_that_reads_it() -> None:
    every = {name.upper(): {"name": "all", "key": name} for name in secret_settings()}
    rendered = render(example("small", secrets=every))
    for name, door in DOORS.items():
        used = {field.upper() for field in settings_used_by(door) & secret_settings()}
        assert variables(rendered.container(name)).keys() & every.keys() == used
    init = rendered.container("models")
    assert not variables(init).keys() & every.keys()


def test_no_container_has_a_variable_that_the_service_does_not_know(rendered: Rendered) -> None:
    known = {field.upper() for field in Settings.model_fields}
    for pod in rendered.pods.values():
        for container in containers_of(pod["spec"]):
            assert variables(container).keys() | rendered.settings.keys() <= known


@pytest.mark.usefixtures("bare_environment")
def test_the_settings_are_valid_for_the_service(rendered: Rendered) -> None:
    given = {name.lower(): value for name, value in rendered.settings.items()}
    settings = Settings(**given, node_id="stems-uvr-api-worker-6d8f9c7b5-x2x9p")
    assert settings.s3_bucket_name == "stems"


def test_large_numbers_stay_numbers() -> None:
    assert render(example("gpu")).settings["MAX_AUDIO_BYTES"] == "1073741824"
    settings = {"MAX_AUDIO_BYTES": 524288000, "RETRY_BASE_SECONDS": 0.5, "CONSOLE": False, "FILE_UMASK": "007"}
    rendered = render(example("arm64", settings=settings))
    assert {name: rendered.settings[name] for name in settings} == {
        "MAX_AUDIO_BYTES": "524288000",
        "RETRY_BASE_SECONDS": "0.5",
        "CONSOLE": "false",
        "FILE_UMASK": "007",
    }
    body_size = rendered.one("Ingress")["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]
    assert int(body_size) > 524288000


def test_pods_may_reach_redis_names_and_the_internet_but_no_private_network(rendered: Rendered) -> None:
    api, worker = rendered.policy("api"), rendered.policy("worker")
    for policy in (api, worker):
        assert policy.admits("10.96.0.10", 53)
    for address in ("93.184.215.14", "2606:2800:21f::1"):
        assert worker.admits(address, 443)
        assert worker.admits(address, 8080)
        assert not api.admits(address, 8080)
    for private in ("10.9.9.9", "172.17.0.1", "192.168.1.1", "169.254.169.254", "127.0.0.1", "fd00::1", "fe80::1"):
        assert not worker.admits(private, 80), private
        assert not api.admits(private, 443), private
    assert rendered.one("NetworkPolicy", "-worker")["spec"]["ingress"] == []
    [rule] = rendered.one("NetworkPolicy", "-api")["spec"]["ingress"]
    assert [port["port"] for port in rule["ports"]] == ["http"]


def test_pods_may_reach_the_redis_and_the_storage_of_the_values() -> None:
    small, gpu, arm64 = (render(example(name)) for name in ("small", "gpu", "arm64"))
    for component in ("api", "worker"):
        assert small.policy(component).admits("10.0.0.5", 6379)
        assert small.policy(component).admits("104.18.0.1", 443)
        assert gpu.policy(component).admits("10.20.1.1", 6380)
        assert not gpu.policy(component).admits("10.30.1.1", 6380)
        assert arm64.policy(component).admits("10.0.0.5", 26379)
        assert arm64.policy(component).admits("10.0.0.5", 6379)
        assert arm64.policy(component).admits("storage", 9000)
    assert arm64.policy("worker").admits("10.1.2.3", 80)  # ALLOWED_PRIVATE_NETWORKS
    assert arm64.policy("worker").admits("10.2.3.4", 80)
    assert not arm64.policy("worker").admits("10.2.3.5", 80)


def test_keda_scales_on_waiting_and_leased_tasks_together() -> None:
    rendered = render(example("gpu"))
    scaled = rendered.one("ScaledObject")["spec"]
    worker = rendered.one("Deployment", "-worker")
    assert scaled["scaleTargetRef"]["name"] == worker["metadata"]["name"]
    assert "replicas" not in worker["spec"], "an upgrade would undo what KEDA has decided"
    assert scaled["minReplicaCount"] == 1
    keys = {trigger["name"]: trigger["metadata"]["listName"] for trigger in scaled["triggers"]}
    assert keys == {"waiting": "uvr_tasks", "leased": "uvr_tasks:lease"}
    assert set(scaled["advanced"]["scalingModifiers"]["formula"].split(" + ")) == keys.keys()
    [authentication] = {trigger["authenticationRef"]["name"] for trigger in scaled["triggers"]}
    assert rendered.one("TriggerAuthentication")["metadata"]["name"] == authentication


def test_keda_follows_the_queue_and_the_kind_of_redis() -> None:
    cluster = {"topology": "cluster", "addresses": ["a:7000", "b:7000"], "sentinelMaster": ""}
    queues = {f"REDIS_{kind}_QUEUE": f"{{uvr}}{kind.lower()}" for kind in ("TASK", "RESULT", "WEBHOOK")}
    rendered = render(example("arm64", redis=cluster, settings=queues))
    for trigger in rendered.one("ScaledObject")["spec"]["triggers"]:
        assert trigger["type"] == "redis-cluster"
        assert trigger["metadata"]["addresses"] == "a:7000,b:7000"
        assert trigger["metadata"]["listName"].startswith("{uvr}task")
    assert [fault for it in rendered.objects if (fault := faults_of(it, OLDEST))] == []
    assert rendered.policy("worker").admits("10.0.0.5", 7000)


def test_a_card_is_asked_for_once_and_used() -> None:
    rendered = render(example("gpu"))
    assert rendered.settings["DEVICE"] == "cuda"
    cards = [it["resources"].get("limits", {}).get("nvidia.com/gpu", 0) for it in all_containers(rendered)]
    assert sum(cards) == 1
    processor = rendered.container("processor")
    assert processor["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert processor["image"].endswith("-processor-gpu")
    pod = rendered.pods["worker"]["spec"]
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod["tolerations"]
    assert (pod["runtimeClassName"], pod["nodeSelector"]) == ("nvidia", {"nvidia.com/gpu.present": "true"})
    assert pod["imagePullSecrets"] == [{"name": "registry"}]


def test_an_upgrade_keeps_workers_unless_all_cards_are_in_use() -> None:
    def maximum_missing(name: str, component: str, **worker: int) -> int:
        strategy = render(example(name, worker=worker)).one("Deployment", f"-{component}")["spec"]["strategy"]
        missing: int = strategy["rollingUpdate"]["maxUnavailable"]
        return missing

    assert [maximum_missing("small", component) for component in ("api", "worker")] == [0, 0]
    assert maximum_missing("gpu", "worker") == 1
    assert maximum_missing("small", "worker", maxUnavailable=2) == 2


def all_containers(rendered: Rendered) -> list[Any]:
    return [it for pod in rendered.pods.values() for it in containers_of(pod["spec"])]


def test_memory_of_every_container_is_limited(rendered: Rendered) -> None:
    for container in all_containers(rendered):
        assert container["resources"]["limits"]["memory"]
        assert container["resources"]["requests"]["cpu"]


def test_models_are_there_before_the_processor_starts() -> None:
    shared, own = render(example("arm64")), render(example("small"))
    command = shared.container("models")["command"]
    assert command == ["python", "download_models.py", "--", "UVR-MDX-NET-Voc_FT", "Kim_Vocal_2"]
    default = Settings.model_fields["model_name"].default
    assert own.container("models")["command"][-1] == default
    claim = shared.one("PersistentVolumeClaim")
    volumes = {it["name"]: it for it in shared.pods["worker"]["spec"]["volumes"]}
    assert volumes["models"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert (claim["spec"]["accessModes"], claim["spec"]["storageClassName"]) == (["ReadWriteMany"], "nfs")
    assert own.of_kind("PersistentVolumeClaim") == []
    none = render(example("small", models={"download": False}))
    assert "initContainers" not in none.pods["worker"]["spec"]


def test_users_and_presets_are_files_of_the_api() -> None:
    rendered = render(example("arm64"))
    mounts = {it["name"]: it for it in rendered.container("api")["volumeMounts"]}
    for name, variable in (("users", "BASIC_AUTH_USERS_FILE"), ("presets", "PRESETS_FILE")):
        assert rendered.settings[variable].startswith(mounts[name]["mountPath"] + "/")
        assert "subPath" not in mounts[name], "the file would never change"
    presets = json.loads(rendered.one("ConfigMap", "-presets")["data"]["presets.json"])
    assert presets == {"choir": {"purpose": "choirs", "models": ["UVR-MDX-NET-Voc_FT"]}}
    assert rendered.settings["PUBLIC_BASE_URL"] == "https://stems.example.com"


def test_prometheus_counts_the_service_once() -> None:
    [endpoint] = render(example("arm64")).one("ServiceMonitor")["spec"]["endpoints"]
    dropped = [it["regex"].split("|") for it in endpoint["relabelings"] if it["action"] == "labeldrop"]
    assert "pod" in dropped[0]
    assert {"action": "replace", "targetLabel": "instance", "replacement": "stems-uvr-api"} in endpoint["relabelings"]
    assert endpoint["authorization"] == {"credentials": {"name": "uvr-api", "key": "METRICS_TOKEN"}}


def test_pods_start_again_when_their_settings_change() -> None:
    def checksums(**settings: Any) -> set[str]:
        pods = render(example("small", settings=settings)).pods.values()
        return {pod["metadata"]["annotations"]["checksum/settings"] for pod in pods}

    assert checksums() == checksums()
    assert not checksums() & checksums(LOG_LEVEL="debug")
