"""One song in, two stems out, through every part of the running service."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from standardwebhooks import Webhook

from tests.support.audio import encoded, noise, read_audio, snr_db
from tests.support.contract import assert_contract_time
from tests.support.http_server import Answer, HttpServer
from tests.support.redis_server import redis_server
from tests.support.s3_server import ADMIN, LATER_BUCKET, S3Server
from tests.support.service import FINAL_STATUSES, Service, running_service
from tests.support.waiting import PATIENCE_S, eventually

# Plain SDR in dB that Spleeter's weights reach on the CC0 songs with true stems (vocals, instrumental).
QUALITY = {"rubidium": (6.7, 22.5), "potassium": (7.6, 21.0)}

# The suffix names the container; FFmpeg's own Vorbis encoder has to be enabled as experimental.
FORMATS = {
    ".wav": {"codec": "pcm_s16le"},
    ".flac": {"codec": "flac"},
    ".mp3": {"codec": "libmp3lame"},
    ".m4a": {"codec": "aac"},
    ".ogg": {"codec": "vorbis", "strict": "experimental"},
    ".opus": {"codec": "libopus", "rate": 48000},
    ".mp4": {"codec": "aac"},
    ".webm": {"codec": "libopus", "rate": 48000},
}


def short_song(seconds: float) -> bytes:
    return encoded(noise(seconds), ".wav", codec="pcm_s16le")


def webhooks(web: HttpServer, path: str = "/hook") -> list[dict[str, Any]]:
    """The payloads of the webhooks that arrived at `path`."""
    return [json.loads(request.body) for request in web.requests if request.path == path]


def wait_for_webhook(web: HttpServer) -> dict[str, Any]:
    return eventually(lambda: webhooks(web), "a webhook arrives", 2 * PATIENCE_S, every_s=0.05)[-1]


@pytest.mark.parametrize("song", sorted(QUALITY))
def test_the_stems_of_a_real_song_are_vocals_and_instrumental(
    service: Service, web: HttpServer, shared_data: Path, song: str
) -> None:
    folder = shared_data / "music" / song
    audio = web.answer("/song.flac", Answer(body=(folder / "mixture.flac").read_bytes()))
    task_uuid = service.generate(audio, hook_url=web.url("/hook"))
    payload = wait_for_webhook(web)
    assert (payload["task_uuid"], payload["status"]) == (task_uuid, "success")
    for stem, truth, min_db in zip(("vocals", "instrumental"), ("vocals", "accompaniment"), QUALITY[song], strict=True):
        estimate = read_audio(requests.get(payload[stem], timeout=60).content)
        true_stem = read_audio(folder / f"{truth}.flac")
        assert estimate.shape == true_stem.shape
        assert snr_db(true_stem, estimate) >= min_db


def test_the_webhook_is_the_promised_one_and_signed(service: Service, web: HttpServer) -> None:
    audio = web.answer("/song.wav", Answer(body=short_song(2)))
    task_uuid = service.generate(audio, hook_url=web.url("/hook"), priority=5)
    payload = wait_for_webhook(web)
    assert_contract_time(payload)
    assert set(payload) == {"task_uuid", "status", "vocals", "instrumental"}
    request = next(request for request in web.requests if request.path == "/hook")
    assert request.headers["content-type"].startswith("application/json")
    Webhook("dGVzdGtleQ==").verify(request.body, dict(request.headers.items()))
    attempts = service.wait_for_delivery(task_uuid)["webhook"]["tries"]
    assert [attempt["status_code"] for attempt in attempts] == [204]


def test_a_task_without_a_hook_is_polled(service: Service, web: HttpServer) -> None:
    audio = web.answer("/song.wav", Answer(body=short_song(1)))
    task = service.wait_for(service.generate(audio))
    assert task["status"] == "success"
    assert task["progress"] == 1
    assert task["webhook"]["state"] == "none"
    stems = {name: requests.get(url, timeout=60) for name, url in task["stems"].items()}
    assert set(stems) == {"vocals", "instrumental"}
    for answer in stems.values():
        assert answer.headers["content-type"] == "audio/wav"
        assert read_audio(answer.content).shape == (2, 44100)


@pytest.mark.parametrize(("output_format", "content_type"), [("mp3", "audio/mpeg"), ("opus", "audio/ogg")])
def test_stems_have_the_requested_format(
    service: Service, web: HttpServer, output_format: str, content_type: str
) -> None:
    audio = web.answer("/song.wav", Answer(body=short_song(1)))
    task = service.wait_for(service.generate(audio, output_format=output_format))
    assert (task["status"], task["facts"]["output_format"]) == ("success", output_format)
    assert bool(task["facts"]["notes"]) == (output_format == "opus")  # which has no 44.1 kHz
    for url in task["stems"].values():
        assert f".{output_format}?" in url
        answer = requests.get(url, timeout=60)
        assert answer.headers["content-type"] == content_type
        assert read_audio(answer.content).shape == (2, task["facts"]["sample_rate"])


def test_a_webhook_announces_the_start_if_requested(service: Service, web: HttpServer) -> None:
    audio = web.answer("/song.wav", Answer(body=short_song(2)))
    service.generate(audio, hook_url=web.url("/hook"), callback_events=["started", "completed"])
    service.eventually(lambda: len(webhooks(web)) == 2, "both webhooks arrive")
    assert [payload["status"] for payload in webhooks(web)] == ["started", "success"]


def test_working_files_are_removed_once_the_stems_are_stored(service: Service, web: HttpServer) -> None:
    audio = web.answer("/song.wav", Answer(body=short_song(1)))
    task_uuid = service.generate(audio)
    service.wait_for(task_uuid)

    def left() -> list[str]:
        found = os.walk(service.output_dir.parent)  # it ignores folders that vanish meanwhile
        return sorted(name for _, folders, files in found for name in [*folders, *files] if task_uuid in name)

    kept = [
        f"{task_uuid}_{stem}{end}"
        for stem in ("instrumental", "vocals")
        for end in (".coarse.peaks.dat", ".fine.peaks.dat", ".wav")
    ]
    service.eventually(lambda: left() == kept, "only the stems and their peaks are left")


def test_a_song_can_be_uploaded(service: Service, web: HttpServer) -> None:
    task_uuid = service.send(short_song(1), "my song.wav", hook_url=web.url("/hook"), output_format="flac")
    payload = wait_for_webhook(web)
    assert (payload["task_uuid"], payload["status"]) == (task_uuid, "success"), payload
    assert read_audio(requests.get(payload["vocals"], timeout=60).content).shape == (2, 44100)
    assert service.task(task_uuid)["audio"] == "my song.wav"
    uploads = service.output_dir / "uploads"
    service.eventually(lambda: not list(uploads.glob(f"{task_uuid}.*")), "the uploaded song is deleted")


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_songs_in_every_format_are_separated(service: Service, web: HttpServer, suffix: str) -> None:
    rate = FORMATS[suffix].get("rate", 44100)
    body = encoded(noise(1.5, rate=rate), suffix, **FORMATS[suffix])
    task = service.wait_for(service.generate(web.answer("/song", Answer(body=body))))
    assert task["status"] == "success", task
    vocals = read_audio(requests.get(task["vocals"], timeout=60).content)
    assert vocals.shape[0] == 2
    assert abs(vocals.shape[1] - 1.5 * rate) < 0.1 * rate


def test_progress_is_reported_while_a_song_is_separated(service: Service, web: HttpServer) -> None:
    audio = web.answer("/song.wav", Answer(body=short_song(55)))
    task_uuid = service.generate(audio)
    seen: set[float] = set()

    def has_ended() -> bool:
        task = service.task(task_uuid)
        if task["status"] == "processing":
            seen.add(task["progress"])
        return task["status"] in FINAL_STATUSES

    service.eventually(has_ended, "the song is separated")
    assert service.task(task_uuid)["status"] == "success"
    # It is recorded every half second, and a fast machine needs little more than a second for this song.
    assert len([share for share in seen if 0 < share < 1]) >= 2


WEB_PAGE = b"<html><body>This is a page, not a song.</body></html>" * 100
NOT_AUDIO = b"%PDF-1.7 a document, not a song" * 100


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(Answer(body=NOT_AUDIO), "not audio", id="not audio"),
        pytest.param(Answer(body=WEB_PAGE), "leads to a web page", id="web page"),
        pytest.param(Answer(body=b""), "empty", id="empty"),
        pytest.param(Answer(404), "404", id="not found"),
        pytest.param(Answer(body=short_song(0.5)[:30]), "audio", id="cut off header"),
        pytest.param(Answer(body=encoded(noise(61), ".flac", codec="flac")), "60", id="too long"),
        pytest.param(Answer(body=bytes(20_000_001)), "too large", id="too large"),
    ],
)
def test_a_song_that_cannot_be_separated_fails_with_a_message_and_a_webhook(
    service: Service, web: HttpServer, answer: Answer, reason: str
) -> None:
    task_uuid = service.generate(web.answer("/song", answer), hook_url=web.url("/hook"))
    payload = wait_for_webhook(web)
    assert (payload["task_uuid"], payload["status"]) == (task_uuid, "failed")
    assert_contract_time(payload)
    assert set(payload) == {"task_uuid", "status", "error_message"}
    assert reason in payload["error_message"].lower()
    assert service.task(task_uuid)["error_message"] == payload["error_message"]


def test_a_redirect_to_an_address_that_is_not_allowed_is_refused(service: Service, web: HttpServer) -> None:
    audio = web.answer("/song", Answer(302, headers={"Location": "http://169.254.169.254/latest/meta-data"}))
    task = service.wait_for(service.generate(audio))
    assert task["status"] == "failed"
    assert "public address" in task["error_message"]


def test_songs_wait_for_a_bucket_and_their_stems_are_stored_in_it(
    tmp_path: Path, trained_models: Path, s3: S3Server, web: HttpServer
) -> None:
    (tmp_path / "redis").mkdir()
    with (
        redis_server(tmp_path / "redis") as redis,
        running_service(
            tmp_path,
            f"unix://{redis.unix_socket_path}",
            trained_models,
            **{
                **s3.settings,
                "S3_BUCKET_NAME": LATER_BUCKET,
                "S3_KEY_PREFIX": "songs/",
                "CACHE_TTL_HOURS": "1",
            },
        ) as service,
    ):
        song = short_song(1)
        audio = web.answer("/song.wav", Answer(body=song))
        task_uuid = service.generate(audio, hook_url=web.url("/hook"))
        service.eventually(lambda: service.ready()["processor"]["status"] == "paused", "the processor pauses")
        for part in ("processor", "uploader"):
            assert "S3_BUCKET_NAME" in service.ready()[part]["message"]
        health = requests.get(f"{service.url}/health", timeout=5)
        assert (health.status_code, health.json()["status"]) == (200, "healthy")
        assert "S3_BUCKET_NAME" in health.json()["components"]["uploader"]["paused"]
        task = service.task(task_uuid)
        assert (task["status"], task["attempt"]) == ("queued", 0)
        s3.client(ADMIN).create_bucket(Bucket=LATER_BUCKET)
        payload = wait_for_webhook(web)
        assert payload["status"] == "success", payload
        for stem in ("vocals", "instrumental"):
            assert f"/{LATER_BUCKET}/songs/{task_uuid}_{stem}.wav?" in payload[stem]
            answer = requests.get(payload[stem], timeout=60)
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "audio/wav"
            assert read_audio(answer.content).shape == (2, 44100)
        service.wait_for(task_uuid)
        other, again = (service.wait_for(service.send(content)) for content in (short_song(2), song))
        assert (other["status"], again["status"]) == ("success", "success"), (other, again)
        assert ("repeated" in other["facts"], again["facts"]["repeated"]) == (False, True)
        copy = requests.get(again["vocals"], timeout=60)
        assert (copy.headers["content-type"], copy.content) == (
            "audio/wav",
            requests.get(payload["vocals"], timeout=60).content,
        )
        service.eventually(lambda: not any(files for _, _, files in os.walk(service.output_dir)), "no file is left")
        uploads = partial(s3.client().list_objects_v2, Bucket=LATER_BUCKET, Prefix="songs/uploads/")
        service.eventually(lambda: "Contents" not in uploads(), "the uploaded songs are deleted")
