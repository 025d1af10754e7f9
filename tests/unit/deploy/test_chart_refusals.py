"""Values that cannot work are refused before anything is installed, with a sentence that names the value."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.chart import example, render

TOKEN = {"name": "a", "key": "b"}
SENTINEL = {"topology": "sentinel", "addresses": ["a:26379"], "sentinelMaster": "uvr"}

BROKEN: dict[str, tuple[str, dict[str, Any], str]] = {
    "a misspelled setting": ("small", {"settings": {"UPLOAD_THREDS": 4}}, "UPLOAD_THREDS"),
    "a password among the settings": ("small", {"settings": {"REDIS_PASSWORD": "x"}}, "REDIS_PASSWORD"),
    "a password in place of a Secret": ("small", {"secrets": {"REDIS_PASSWORD": "x"}}, "REDIS_PASSWORD"),
    "a setting that the chart sets": ("small", {"settings": {"NODE_ID": "one"}}, "NODE_ID"),
    "a setting of another type": ("small", {"settings": {"FILE_UMASK": 7}}, "FILE_UMASK"),
    "a setting out of bounds": ("small", {"settings": {"DEFAULT_PRIORITY": 6}}, "DEFAULT_PRIORITY"),
    "an unknown value": ("small", {"workers": {"replicas": 2}}, "workers"),
    "no registry": ("small", {"image": {"registry": ""}}, "image.registry: name the registry"),
    "no bucket": ("small", {"settings": {"S3_BUCKET_NAME": ""}}, "settings.S3_BUCKET_NAME: name a bucket"),
    "no password": ("small", {"secrets": {"BASIC_AUTH_PASSWORD": None}}, "secrets.BASIC_AUTH_PASSWORD: name"),
    "half an access key": ("small", {"secrets": {"AWS_SECRET_ACCESS_KEY": None}}, "or neither to use the role"),
    "no Redis": ("small", {"redis": {"host": ""}}, "redis.host: name the host"),
    "TLS without a URL": ("small", {"redis": {"tls": True}}, "secrets.REDIS_URL: TLS"),
    "Sentinel without a URL": ("small", {"redis": SENTINEL}, "secrets.REDIS_URL"),
    "KEDA without a host": ("gpu", {"redis": {"host": ""}}, "redis.host: KEDA cannot read"),
    "KEDA without addresses": ("arm64", {"redis": {"addresses": []}}, "redis.addresses: repeat"),
    "no pods": ("gpu", {"keda": {"minReplicas": 0}}, "minReplicas"),
    "fewer pods at most than at least": ("gpu", {"keda": {"maxReplicas": 1, "minReplicas": 2}}, "keda.maxReplicas"),
    "too little time for songs": (
        "small",
        {"worker": {"terminationGracePeriodSeconds": 300}},
        "worker.terminationGracePeriodSeconds: 300 is less than the 460 s",
    ),
    "too little time for requests": (
        "small",
        {"api": {"terminationGracePeriodSeconds": 30}},
        "api.terminationGracePeriodSeconds: 30 is less than the 35 s",
    ),
    "one volume for several nodes": (
        "arm64",
        {"models": {"persistence": {"accessMode": "ReadWriteOnce"}}},
        "models.persistence.accessMode: several worker pods",
    ),
    "an Ingress without a host": ("small", {"ingress": {"enabled": True}}, "ingress.host: name the host"),
    "a card for the CPU": ("gpu", {"settings": {"DEVICE": "cpu"}}, "settings.DEVICE: is cpu"),
    "metrics without a token": ("arm64", {"secrets": {"METRICS_TOKEN": None}}, "secrets.METRICS_TOKEN: name"),
}


@pytest.mark.parametrize(("values", "changes", "reason"), BROKEN.values(), ids=BROKEN)
def test_values_that_cannot_work_are_refused_with_the_reason(values: str, changes: dict[str, Any], reason: str) -> None:
    helm = pytest.importorskip("helm_python", reason="there is no Helm library for this machine")
    with pytest.raises(helm.HelmError) as refusal:
        render(example(values, **changes))
    assert reason in str(refusal.value)


def test_all_reasons_are_given_together() -> None:
    with pytest.raises(Exception, match="These values cannot work") as refusal:
        render(example("small", image={"registry": ""}, redis={"host": ""}, settings={"S3_BUCKET_NAME": ""}))
    assert all(value in str(refusal.value) for value in ("image.registry:", "redis.host:", "settings.S3_BUCKET_NAME:"))
