"""`python -m uvr submit`, `status`, `list` and `cancel` with a running service, as people and scripts use them."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import VERSION
from tests.support.audio import codec_of, encoded, noise, read_audio, snr_db
from tests.support.command_line import run_uvr, uvr_command
from tests.support.http_server import Answer, HttpServer
from tests.support.ports import free_port
from tests.support.service import AUTH, Service
from uvr.client import Client, ConflictError

HINT = "to follow them again: python -m uvr status --wait "
LONG_S = 55


def settings_of(service: Service) -> dict[str, str]:
    """The variables with which a command finds the service and may use it."""
    return {"UVR_URL": service.url, "UVR_USERNAME": AUTH[0], "UVR_PASSWORD": AUTH[1]}


def run(service: Service, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return run_uvr(*arguments, **{**settings_of(service), **variables})


def song(path: Path, seconds: float = 1.5) -> Path:
    path.write_bytes(encoded(noise(seconds, channels=1), ".wav", codec="pcm_s16le"))
    return path


@pytest.fixture
def tasks(service: Service, tmp_path: Path) -> Iterator[list[str]]:
    """A task that takes a while to separate, and two that wait behind it; all are cancelled at the end."""
    songs = [song(tmp_path / f"long {number}.wav", LONG_S) for number in range(3)]
    ids = run(service, "submit", *songs).stdout.splitlines()
    yield ids
    run(service, "cancel", *ids)


def test_files_become_stems_that_are_named_after_them(service: Service, tmp_path: Path) -> None:
    songs = [song(tmp_path / "Erstes Lied.wav"), song(tmp_path / "二.wav")]
    done = run(service, "submit", *songs, "--format", "flac", "--priority", "5", "-o", tmp_path / "new" / "stems")
    assert done.returncode == 0, done.stderr
    stems = [
        tmp_path / "new" / "stems" / f"{path.stem}_{stem}.flac" for path in songs for stem in ("vocals", "instrumental")
    ]
    assert sorted(done.stdout.splitlines()) == sorted(map(str, stems))
    assert sorted((tmp_path / "new" / "stems").iterdir()) == sorted(stems)
    assert {codec_of(path) for path in stems} == {"flac"}
    assert snr_db(read_audio(songs[0]), read_audio(stems[0]) + read_audio(stems[1])) > 30
    assert f"{songs[0]}: task " in done.stderr


def test_songs_of_one_name_get_stems_of_their_own(service: Service, tmp_path: Path) -> None:
    songs = [song(tmp_path / "song.wav", 0.2), song(tmp_path / "Song.WAV", 0.2)]
    done = run(service, "submit", *songs, "-o", tmp_path / "stems")
    assert done.returncode == 0, done.stderr
    names = [f"{name}_{stem}.wav" for name in ("song", "Song-2") for stem in ("vocals", "instrumental")]
    assert sorted(path.name for path in (tmp_path / "stems").iterdir()) == sorted(names)
    task_uuid = done.stderr.partition("Song.WAV: task ")[2].partition("\n")[0]
    again = run(service, "status", f"{task_uuid}=a/third", "-o", tmp_path / "again")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again" / "a_third_vocals.wav").is_file()


def test_a_folder_is_all_songs_below_it(service: Service, tmp_path: Path) -> None:
    for name in ("music/b/song.wav", "music/a/song.wav", "music/.hidden/song.wav"):
        (tmp_path / name).parent.mkdir(parents=True)
        song(tmp_path / name, 0.2)
    (tmp_path / "music" / "cover.jpg").write_bytes(b"not a song")
    stems = tmp_path / "music" / "stems"
    done = run(service, "submit", tmp_path / "music", "-o", stems)
    assert done.returncode == 0, done.stderr
    names = [f"{name}_{stem}.wav" for name in ("a - song", "b - song") for stem in ("vocals", "instrumental")]
    assert sorted(path.name for path in stems.iterdir()) == sorted(names)
    (tmp_path / "none").mkdir()
    empty = run(service, "submit", tmp_path / "music" / "a" / "song.wav", tmp_path / "none")
    assert (empty.returncode, empty.stdout) == (2, "")
    assert f"{tmp_path / 'none'} has no songs" in empty.stderr


def test_a_batch_is_listed_and_priorities_are_changed(web: HttpServer) -> None:
    as_json = {"Content-Type": "application/json"}
    web.answer("/tasks", Answer(200, b'{"tasks": [{"task_uuid": "7"}], "next_cursor": null}', headers=as_json))
    web.answer("/tasks/7", Answer(200, b'{"task_uuid": "7", "status": "queued", "priority": 5}', headers=as_json))
    web.answer("/tasks/8", Answer(409, b'{"detail": "The task no longer waits."}', headers=as_json))
    listed = run_uvr("list", "--batch", "b", "--json", "--url", web.url(""), UVR_PASSWORD="secret")
    assert (listed.returncode, json.loads(listed.stdout)) == (0, {"task_uuid": "7"})
    assert "batch=b" in web.requests[0].path
    changed = run_uvr("priority", "8", "7", "5", "--url", web.url(""), UVR_PASSWORD="secret")
    assert (changed.returncode, changed.stdout) == (1, "7\n")
    assert "8: The task no longer waits." in changed.stderr
    assert [(it.method, json.loads(it.body)) for it in web.requests[1:]] == [("PATCH", {"priority": 5})] * 2


def test_options_of_a_song_are_sent_as_the_service_expects_them(web: HttpServer) -> None:
    answer = b'{"task_uuid": "7", "status": "queued", "priority": 3}'
    web.answer("/generate", Answer(202, answer, headers={"Content-Type": "application/json"}))
    options = ["--model", "A,B", "--model", "C", "--stems", "vocals, drums", "--metadata", "order=4711=2", "--metadata"]
    url = "https://songs.example.com/a.mp3"
    done = run_uvr("submit", url, *options, "by=", "--url", web.url(""), UVR_PASSWORD="secret")
    assert done.returncode == 0, done.stderr
    assert json.loads(web.requests[0].body) == {
        "audio": url,
        "model": ["A", "B", "C"],
        "stems": ["vocals", "drums"],
        "metadata": {"order": "4711=2", "by": ""},
    }
    assert run_uvr("submit", url, "--model", "best", "--url", web.url(""), UVR_PASSWORD="secret").returncode == 0
    assert json.loads(web.requests[1].body) == {"audio": url, "model": "best"}


def test_the_stems_of_a_submitted_url_are_fetched_later(service: Service, web: HttpServer, tmp_path: Path) -> None:
    source = web.answer("/a/Lied.wav", Answer(body=song(tmp_path / "song.wav").read_bytes()))
    submitted = run(service, "submit", source, "--hook", web.url("/hook"))
    assert submitted.returncode == 0, submitted.stderr
    (task_uuid,) = submitted.stdout.splitlines()
    followed = run(service, "status", task_uuid, "-o", tmp_path / "stems", "--json")
    assert followed.returncode == 0, followed.stderr
    entry = json.loads(followed.stdout)
    assert (entry["input"], entry["status"], entry["facts"]["channels"]) == (task_uuid, "success", 1)
    assert entry["files"] == {stem: str(tmp_path / "stems" / f"Lied_{stem}.wav") for stem in entry["stems"]}
    shown = run(service, "status", task_uuid)
    assert shown.stdout.split()[1:] == ["success", "100%", task_uuid, source]
    assert task_uuid in run(service, "list", "--status", "success", "--limit", "1").stdout
    assert json.loads(web.requests[-1].body)["task_uuid"] == task_uuid


def test_a_song_that_fails_does_not_stop_the_others(service: Service, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.wav", song(tmp_path / "good.wav")
    bad.write_text("not audio")
    done = run(service, "submit", bad, tmp_path / "gone.wav", good, "--wait", "--json")
    assert done.returncode == 1
    entries = {entry["input"]: entry for entry in map(json.loads, done.stdout.splitlines())}
    assert entries[str(tmp_path / "gone.wav")] == {
        "input": str(tmp_path / "gone.wav"),
        "status": "refused",
        "error_message": "No such file or directory.",
    }
    assert entries[str(bad)]["error_message"]
    assert f"{bad}: {entries[str(bad)]['error_message']}" in done.stderr
    assert entries[str(good)]["status"] == "success"


def test_a_song_that_is_sent_twice_under_one_key_is_one_task(service: Service, tmp_path: Path) -> None:
    file = song(tmp_path / "song.wav")
    with Client(service.url, *AUTH) as client:
        first, second = (client.submit(file, idempotency_key="mine", priority=1) for _ in range(2))
        assert (first.task_uuid, first.priority) == (second.task_uuid, 1)
        with pytest.raises(ConflictError):
            client.submit(file, idempotency_key="mine", priority=2)


def test_a_file_that_is_too_large_is_refused_with_a_reason(service: Service, tmp_path: Path) -> None:
    large = tmp_path / "large.wav"
    with large.open("wb") as file:
        file.truncate(60_000_000)
    done = run(service, "submit", large)
    assert (done.returncode, done.stdout) == (1, "")
    assert "large" in done.stderr.splitlines()[-1].removeprefix(f"{large}: ")


def test_tasks_are_cancelled(service: Service, tasks: list[str]) -> None:
    shown = run(service, "status", tasks[-1]).stdout.split(maxsplit=4)
    assert shown[1:4] == ["queued", "0%", tasks[-1]]
    assert shown[4].startswith("long 2.wav")
    cancelled = run(service, "cancel", *tasks, "nonsense")
    assert (cancelled.returncode, cancelled.stdout.splitlines()) == (1, tasks)
    assert "nonsense: " in cancelled.stderr
    waited = run(service, "status", "--wait", tasks[0])
    assert (waited.returncode, waited.stdout) == (1, "")
    assert f"{tasks[0]}: The task was cancelled." in waited.stderr


def test_ctrl_c_leaves_the_tasks_running_and_says_how_to_follow_them_again(service: Service, tasks: list[str]) -> None:
    arguments = uvr_command("status", "--wait", *tasks, **settings_of(service))
    with subprocess.Popen(**arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert process.stderr.readline().startswith("long 0: ")
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (130, "")
    assert stderr.endswith(f"{HINT}{' '.join(tasks)}\n")
    assert service.task(tasks[-1])["status"] == "queued"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, to which nothing can be written")
def test_output_that_cannot_be_written_is_an_error(service: Service, tmp_path: Path) -> None:
    run(service, "submit", song(tmp_path / "a.wav", 0.1))
    with Path("/dev/full").open("w") as full:
        arguments = uvr_command("list", **settings_of(service))
        done = subprocess.run(**arguments, check=False, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (2, "No space left on device.\n")


def test_a_command_finds_the_service_through_the_env_file(service: Service, tmp_path: Path) -> None:
    port = service.url.rpartition(":")[2]
    lines = [f"API_PORT={port}", f"BASIC_AUTH_USERNAME={AUTH[0]}", f"BASIC_AUTH_PASSWORD={AUTH[1]}"]
    (tmp_path / "env").write_text("\n".join(lines))
    done = run_uvr("list", "--limit", "1", ENV_FILE=str(tmp_path / "env"))
    assert (done.returncode, done.stderr) in [(0, ""), (0, "There are no tasks.\n")]


def test_the_password_of_one_service_is_not_sent_to_another(web: HttpServer) -> None:
    done = run_uvr("list", "--url", web.url(""), BASIC_AUTH_PASSWORD="secret of this machine")
    assert (done.returncode, done.stdout) == (2, "")
    assert "There is no password for http://127.0.0.1:" in done.stderr
    assert "Set UVR_USERNAME and UVR_PASSWORD" in done.stderr
    assert not web.requests


def test_a_wrong_password_is_reported(service: Service) -> None:
    done = run(service, "list", UVR_PASSWORD="guess")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Set UVR_USERNAME and UVR_PASSWORD" in done.stderr


def test_a_token_is_sent_instead_of_the_password(web: HttpServer) -> None:
    done = run_uvr("list", UVR_URL=web.url(""), UVR_USERNAME="anna", UVR_PASSWORD="hers", UVR_TOKEN="uvr_secret")
    assert done.returncode == 2, "because this server is no uvr-api"
    assert {request.headers["Authorization"] for request in web.requests} == {"Bearer uvr_secret"}


def test_a_service_that_does_not_answer_is_reported(tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    done = run_uvr("submit", song(tmp_path / "a.wav"), "--wait", UVR_URL=address, UVR_PASSWORD="a")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{address} does not answer.\n")


def test_an_env_file_that_cannot_be_read_is_ignored_if_an_address_is_given(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"API_HOST=\xe9")
    settings = {"ENV_FILE": str(tmp_path / ".env"), "UVR_PASSWORD": "a"}
    fault = f"ENV_FILE: {tmp_path / '.env'} cannot be read: it is not UTF-8"
    address = f"http://127.0.0.1:{free_port()}"
    for given in (run_uvr("list", "--url", address, **settings), run_uvr("list", UVR_URL=address, **settings)):
        assert (given.returncode, given.stderr) == (2, f"{fault}; the file is ignored.\n{address} does not answer.\n")
    refused = run_uvr("list", **settings)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.endswith(f"  {fault}\n")


def test_the_version_is_printed_even_with_invalid_settings() -> None:
    done = run_uvr("--version", API_PORT="zero")
    assert (done.returncode, done.stdout) == (0, f"uvr-api {VERSION}\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("submit",), "the following arguments are required: FILE|FOLDER|URL"),
        (("submit", "a.wav", "--priority", "6"), "invalid choice: 6"),
        (("submit", "a.wav", "-o", "config.py"), "Stems cannot be written to config.py: it is not a folder."),
        (("status", "one", "-o", "config.py/a"), "Stems cannot be written to config.py/a: Not a directory."),
        (("submit", "a.wav", "docs/a_vocals.wav", "-o", "docs"), "docs/a_vocals.wav might be overwritten by a stem"),
        (("submit", "a.wav", "--model", "A,,B"), '"A,,B" has an empty name'),
        (("submit", "a.wav", "--metadata", "order"), '"order" is not of the form KEY=VALUE'),
        (("list", "--limit", "-1"), "-1 is not a number of tasks"),
        (("list", "--url", "example.com"), '"example.com" is not the URL of a service'),
    ],
)
def test_wrong_usage_is_reported_before_anything_is_sent(arguments: tuple[str, ...], sentence: str) -> None:
    done = run_uvr(*arguments, UVR_PASSWORD="a")
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr


def test_a_webhook_secret_is_printed_once(service: Service) -> None:
    try:
        none = run(service, "webhook-secret", "show")
        assert (none.returncode, none.stdout) == (0, "")
        assert "You have no webhook secret" in none.stderr
        first = run(service, "webhook-secret", "new")
        assert first.stdout.startswith("whsec_")
        again = json.loads(run(service, "webhook-secret", "new", "--json").stdout)
        shown = run(service, "webhook-secret", "show")
        assert shown.stdout == f"{again['created_at']}  {again['fingerprint']}\n"
        [replaced] = again["replaced"]
        assert replaced["fingerprint"] in shown.stderr
    finally:
        removed = run(service, "webhook-secret", "remove")
    assert (removed.returncode, removed.stdout) == (0, "")
    assert run(service, "webhook-secret", "show").stdout == ""
