"""Each query of the dashboard finds data in a Prometheus that has scraped a service at work.

The Prometheus has the configuration and the rules of deploy/monitoring/, with other addresses and a shorter interval.
The service has had a success, a failure, a dead letter, a webhook that failed and a request that was refused.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from config import ROOT
from tests.support.audio import encoded, noise
from tests.support.http_server import Answer, HttpServer, http_server
from tests.support.ports import free_port
from tests.support.redis_server import redis_server
from tests.support.service import AUTH, Service, running_service
from tests.support.waiting import PATIENCE_S, eventually
from uvr.models import store

DEPLOYED = ROOT / "deploy" / "monitoring"
DASHBOARD = json.loads((DEPLOYED / "grafana-dashboard.json").read_text(encoding="utf-8"))
TOKEN = "a token for scrapers"
VARIABLES = {"$job": ".+", "$__rate_interval": "5m"}
COUNTED = (
    'uvr_webhook_tries_total{outcome="retry"}',
    "uvr_separation_seconds_count",
    'uvr_http_requests_total{status="404"}',
)
"""What each process has counted after everything happened once; it sends its sums every few seconds."""
SONG = encoded(noise(2), ".wav", codec="pcm_s16le")


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    url: str

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API."""
        answer = requests.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=PATIENCE_S).json()
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]

    def values(self, expression: str) -> list[float]:
        """The values of an instant query that are numbers."""
        found = [float(series["value"][1]) for series in self.get("query", query=expression)["result"]]
        return [value for value in found if not math.isnan(value)]

    def has_scraped(self) -> bool:
        """Whether the last scrape succeeded; fails with the reason if it did not."""
        targets = self.get("targets")["activeTargets"]
        assert all(target["lastError"] == "" for target in targets), targets
        return any(target["health"] == "up" for target in targets)


def program(name: str) -> str:
    return shutil.which(name) or pytest.skip(f"needs {name}: apt-get install prometheus")


@contextmanager
def prometheus(folder: Path, service_url: str) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the service each second."""
    (folder / "token").write_text(TOKEN)
    config = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(DEPLOYED / "prometheus-rules.yaml")]
    [scraping] = config["scrape_configs"]
    scraping["authorization"]["credentials_file"] = str(folder / "token")
    scraping["static_configs"] = [{"targets": [service_url.removeprefix("http://")]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        found = Prometheus(f"http://{address}")
        eventually(lambda: is_ready(found.url), "Prometheus is ready")
        yield found
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/-/ready", timeout=PATIENCE_S).ok
    except requests.ConnectionError:
        return False


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[Prometheus]:
    """The Prometheus of a service that has had a success, a failure, a dead letter and a failing webhook."""
    program("prometheus")
    store.ensure_model_file("Spleeter-2stems", model_dir)
    folder = tmp_path_factory.mktemp("watched")
    (folder / "redis").mkdir()
    with ExitStack() as running:
        web = running.enter_context(http_server())
        redis = running.enter_context(redis_server(folder / "redis", tcp=True))
        service = running.enter_context(
            running_service(folder, f"redis://127.0.0.1:{redis.port}", model_dir, METRICS_TOKEN=TOKEN)
        )
        found = running.enter_context(prometheus(folder, service.url))
        eventually(found.has_scraped, "the service is scraped")
        # Twice, because Prometheus sees no increase in a series that begins with 1.
        for number in (1, 2):
            live(service, web)
            for counted in COUNTED:
                eventually(lambda: sum(found.values(counted)) >= number, f"{counted}: {number}")  # noqa: B023
        yield found


def live(service: Service, web: HttpServer) -> None:
    """A success, a failure that becomes a dead letter, a webhook that fails, and a refused request."""
    song = web.answer("/song.wav", Answer(body=SONG))
    web.answer("/hook", Answer(204))
    done = service.generate(song, hook_url=web.url("/hook"))
    service.wait_for_delivery(done)
    failed = service.generate(web.answer("/gone", Answer(404)), hook_url=web.answer("/broken", Answer(500)))
    assert service.wait_for(failed)["status"] == "failed"
    dead = requests.get(f"{service.url}/admin/dead-letters", auth=AUTH, timeout=PATIENCE_S).json()
    assert failed in json.dumps(dead)
    assert requests.get(f"{service.url}/tasks/unknown", auth=AUTH, timeout=PATIENCE_S).status_code in {400, 404}


def queries() -> list[tuple[str, str]]:
    """The title and the expression of each query of the dashboard."""
    return [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]


@pytest.mark.parametrize(("title", "expression"), queries(), ids=[title for title, _ in queries()])
def test_each_query_of_the_dashboard_finds_data(watched: Prometheus, title: str, expression: str) -> None:
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    eventually(lambda: watched.values(expression), f"{title}: {expression}")


def test_prometheus_has_loaded_every_rule_without_an_error(watched: Prometheus) -> None:
    eventually(lambda: all(rule["health"] == "ok" for rule in rules(watched)), "each rule was evaluated")
    [group] = yaml.safe_load((DEPLOYED / "prometheus-rules.yaml").read_text())["groups"]
    assert len(rules(watched)) == len(group["rules"])


def rules(watched: Prometheus) -> list[Any]:
    return [rule for group in watched.get("rules")["groups"] for rule in group["rules"]]


def test_no_alert_is_about_to_fire_while_the_service_is_well(watched: Prometheus) -> None:
    """But that of a full disk: it sees what else this machine writes, and follows the last seconds for four hours."""
    alerts = [alert for alert in watched.get("alerts")["alerts"] if alert["labels"]["alertname"] != "UvrDiskFillsUp"]
    assert alerts == []


def test_each_worker_process_is_counted_when_it_starts(watched: Prometheus) -> None:
    assert watched.values("uvr_worker_starts_total") == [1, 1]


def test_no_query_adds_zeros_to_hide_that_it_finds_nothing() -> None:
    assert [expression for _, expression in queries() if "vector(" in expression] == []


def test_the_dashboard_is_provisioned_with_the_data_source_that_it_asks() -> None:
    [source] = yaml.safe_load((DEPLOYED / "grafana" / "datasources" / "prometheus.yaml").read_text())["datasources"]
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["query"] == source["type"]
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in DASHBOARD["panels"] if panel["type"] != "row")
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
