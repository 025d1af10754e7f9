"""Model downloads from a real HTTP server that interrupts, changes and refuses: complete and checked, or not at all."""

from __future__ import annotations

import hashlib
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from tests.support.http_server import Answer, HttpServer
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_S
from uvr.errors import PermanentError
from uvr.models import catalogue, download, store
from uvr.models.audio_separator import ensure_model_files, missing_files, verify_model_files
from uvr.models.files import DownloadProgress
from uvr.net.model_sources import ModelSources

# A public model whose hash is not in the catalogue: any file with a hash of UVR's table is accepted.
NAME = "UVR-MDX-NET-Inst_HQ_1"
FILE = f"{NAME}.onnx"
BODY = random.Random(1).randbytes(3_000_000)
CUT = 1 << 20
ETAG = {"ETag": '"first"'}


@pytest.fixture(autouse=True)
def _add_hash_of_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test cannot make a file with a hash of UVR's table, so add one hash to the table."""
    parameters = store.MdxParameters(1.0, 2048, 256, 4096, "Vocals")
    monkeypatch.setitem(catalogue.PARAMETERS, hashlib.md5(BODY).hexdigest(), parameters)


def rest_from(start: int) -> Answer:
    content_range = f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"
    return Answer(206, BODY[start:], {**ETAG, "Content-Range": content_range})


def test_model_is_downloaded_from_the_mirror_and_its_hash_recorded(server: HttpServer, tmp_path: Path) -> None:
    server.answer(f"/mirror/uvr/{FILE}", Answer(body=BODY, headers=ETAG))
    reports: list[DownloadProgress] = []
    path = store.ensure_model_file(
        NAME, tmp_path, sources=ModelSources((server.url("/mirror/uvr/"),)), on_progress=reports.append
    )
    assert path.read_bytes() == BODY
    recorded = path.with_name(f"{FILE}.sha256").read_text()
    assert recorded == f"{hashlib.sha256(BODY).hexdigest()}  {FILE}\n"
    source = server.url(f"/mirror/uvr/{FILE}")
    assert reports[0] == DownloadProgress(source, 0, catalogue.CATALOGUE[NAME].size_bytes)
    assert reports[1] == DownloadProgress(source, 0, len(BODY))
    assert reports[-1] == DownloadProgress(source, len(BODY), len(BODY))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [f".{FILE}.lock", FILE, f"{FILE}.sha256"]


def test_redirect_to_another_host_is_followed(server: HttpServer, tmp_path: Path) -> None:
    server.answer("/cdn", Answer(body=BODY))
    server.answer(f"/{FILE}", Answer(302, headers={"Location": server.url("/cdn", host="localhost")}))
    assert store.ensure_model_file(NAME, tmp_path, sources=ModelSources((server.url(""),))).read_bytes() == BODY


def test_existing_file_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(BODY)
    nowhere = f"http://127.0.0.1:{free_port()}"
    assert store.ensure_model_file(NAME, tmp_path, sources=ModelSources((nowhere,))) == tmp_path / FILE


def test_interrupted_transfer_is_resumed(server: HttpServer, tmp_path: Path) -> None:
    server.answer(f"/{FILE}", Answer(body=BODY[:CUT], headers=ETAG, length=len(BODY)), rest_from(CUT))
    assert store.ensure_model_file(NAME, tmp_path, sources=ModelSources((server.url(""),))).read_bytes() == BODY
    headers = server.requests[1].headers
    assert (headers["Range"], headers["If-Range"]) == (f"bytes={CUT}-", '"first"')


def test_partial_file_of_an_earlier_call_is_resumed(server: HttpServer, tmp_path: Path) -> None:
    (tmp_path / f"{FILE}.part").write_bytes(BODY[:1000])
    (tmp_path / f"{FILE}.part.etag").write_text('"first"')
    server.answer(f"/{FILE}", rest_from(1000))
    assert store.ensure_model_file(NAME, tmp_path, sources=ModelSources((server.url(""),))).read_bytes() == BODY
    assert server.requests[0].headers["Range"] == "bytes=1000-"


def test_file_that_changed_on_the_server_is_downloaded_from_its_beginning(server: HttpServer, tmp_path: Path) -> None:
    (tmp_path / f"{FILE}.part").write_bytes(b"of an older file")
    (tmp_path / f"{FILE}.part.etag").write_text('"older"')
    server.answer(f"/{FILE}", Answer(body=BODY, headers=ETAG))
    assert store.ensure_model_file(NAME, tmp_path, sources=ModelSources((server.url(""),))).read_bytes() == BODY


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"weak"'}], ids=["no ETag", "weak ETag"])
def test_without_a_strong_etag_nothing_is_resumed(server: HttpServer, tmp_path: Path, headers: dict[str, str]) -> None:
    cut = Answer(body=BODY[:CUT], headers=headers, length=len(BODY))
    server.answer(f"/{FILE}", cut, Answer(body=BODY, headers=headers))
    assert store.ensure_model_file(NAME, tmp_path, sources=ModelSources((server.url(""),))).read_bytes() == BODY
    assert server.requests[1].headers["Range"] is None


@pytest.mark.parametrize(
    "answer",
    [Answer(416), Answer(206, BODY[5:], {"Content-Range": f"bytes 5-{len(BODY) - 1}/{len(BODY)}"}), Answer(206, BODY)],
    ids=["416", "another position", "no position"],
)
def test_server_that_cannot_resume_is_asked_for_the_whole(server: HttpServer, tmp_path: Path, answer: Answer) -> None:
    (tmp_path / f"{FILE}.part").write_bytes(BODY[:1000])
    (tmp_path / f"{FILE}.part.etag").write_text('"first"')
    server.answer(f"/{FILE}", answer, Answer(body=BODY))
    assert store.ensure_model_file(NAME, tmp_path, sources=ModelSources((server.url(""),))).read_bytes() == BODY
    assert server.requests[1].headers["Range"] is None


def test_busy_server_is_asked_again(server: HttpServer, tmp_path: Path) -> None:
    server.answer(f"/{FILE}", Answer(503), Answer(429), Answer(body=BODY))
    assert store.ensure_model_file(NAME, tmp_path, sources=ModelSources((server.url(""),))).read_bytes() == BODY


def test_file_of_unknown_hash_is_refused_and_removed(server: HttpServer, tmp_path: Path) -> None:
    server.answer(f"/{FILE}", Answer(body=b"<html>Sign in to this network</html>"))
    with pytest.raises(catalogue.ModelUnavailableError, match="the downloaded file is not this model"):
        store.ensure_model_file(NAME, tmp_path, sources=ModelSources((server.url(""),)))
    assert [entry.name for entry in tmp_path.iterdir()] == [f".{FILE}.lock"]


def test_file_of_another_model_is_refused_and_removed(server: HttpServer, tmp_path: Path) -> None:
    server.answer("/UVR-MDX-NET-Inst_HQ_4.onnx", Answer(body=BODY))
    with pytest.raises(catalogue.ModelUnavailableError, match="the downloaded file is not this model"):
        store.ensure_model_file("UVR-MDX-NET-Inst_HQ_4", tmp_path, sources=ModelSources((server.url(""),)))
    assert [entry.name for entry in tmp_path.iterdir()] == [".UVR-MDX-NET-Inst_HQ_4.onnx.lock"]


def test_missing_file_is_reported_with_what_to_do(server: HttpServer, tmp_path: Path) -> None:
    with pytest.raises(catalogue.ModelUnavailableError) as raised:
        store.ensure_model_file(NAME, tmp_path, sources=ModelSources((server.url("/mirror"),)))
    assert raised.value.message == (
        f"{NAME} could not be downloaded: from {server.url('/mirror')}/{FILE}: the server answered 404 Not Found. "
        f"Put {FILE} into MODEL_FILE_DIR by hand, or set HF_ENDPOINT to a mirror of Hugging Face, or name a mirror of "
        "the model files in MODEL_SOURCES, or set MODEL_NAME=Spleeter-2stems, which needs no model host."
    )
    assert len(server.requests) == 1


def test_unreachable_server_is_named(tmp_path: Path) -> None:
    with pytest.raises(catalogue.ModelUnavailableError, match=r"127\.0\.0\.1.*the server cannot be reached"):
        store.ensure_model_file(NAME, tmp_path, sources=ModelSources((f"http://127.0.0.1:{free_port()}",)))


def test_the_next_source_is_tried_when_one_does_not_have_the_file(server: HttpServer, tmp_path: Path) -> None:
    server.answer(f"/b/{FILE}", Answer(body=BODY))
    sources = ModelSources((server.url("/a"), server.url("/b")))
    reports: list[DownloadProgress] = []
    assert store.ensure_model_file(NAME, tmp_path, sources=sources, on_progress=reports.append).read_bytes() == BODY
    assert [request.path for request in server.requests] == [f"/a/{FILE}", f"/b/{FILE}"]
    assert list(dict.fromkeys(report.source for report in reports)) == [server.url(f"/{x}/{FILE}") for x in "ab"]


def test_the_next_source_is_tried_when_one_has_another_file(server: HttpServer, tmp_path: Path) -> None:
    server.answer(f"/a/{FILE}", Answer(body=b"<html>Sign in</html>", headers=ETAG))
    server.answer(f"/b/{FILE}", Answer(body=BODY))
    sources = ModelSources((server.url("/a"), server.url("/b")))
    assert store.ensure_model_file(NAME, tmp_path, sources=sources).read_bytes() == BODY


def test_a_source_that_accepts_and_never_answers_is_asked_once(
    server: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_ANSWER_S", 0.2)
    server.answer(f"/a/{FILE}", Answer(body=BODY, delay_s=PATIENCE_S))
    server.answer(f"/b/{FILE}", Answer(body=BODY))
    sources = ModelSources((server.url("/a"), server.url("/b")))
    with structlog.testing.capture_logs() as entries:
        assert store.ensure_model_file(NAME, tmp_path, sources=sources).read_bytes() == BODY
    assert [request.path for request in server.requests] == [f"/a/{FILE}", f"/b/{FILE}"]
    failed = [(entry["source"], entry["error"]) for entry in entries if entry["event"] == "model.source_failed"]
    assert failed == [(server.url(f"/a/{FILE}"), "the server did not answer within 0.2 s")]


def test_a_source_that_stops_in_the_middle_is_left_for_the_next_one(
    server: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_PAUSE_S", 0.2)
    server.answer(f"/a/{FILE}", Answer(body=BODY, drip_s=PATIENCE_S, piece_bytes=CUT))
    server.answer(f"/b/{FILE}", Answer(body=BODY))
    sources = ModelSources((server.url("/a"), server.url("/b")))
    with structlog.testing.capture_logs() as entries:
        assert store.ensure_model_file(NAME, tmp_path, sources=sources).read_bytes() == BODY
    failed = [entry["error"] for entry in entries if entry["event"] == "model.source_failed"]
    assert failed == ["the server sent nothing for 0.2 s"]


def test_a_source_may_pause_longer_in_the_middle_than_before_its_answer(
    server: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_ANSWER_S", 0.5)
    server.answer(f"/{FILE}", Answer(body=BODY, drip_s=1, piece_bytes=len(BODY) // 2 + 1))
    assert store.ensure_model_file(NAME, tmp_path, sources=ModelSources((server.url(""),))).read_bytes() == BODY
    assert len(server.requests) == 1


def test_all_sources_and_their_faults_are_named_if_none_works(server: HttpServer, tmp_path: Path) -> None:
    sources = ModelSources((server.url("/a"), f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(
        catalogue.ModelUnavailableError, match=r"from .*/a/.*: the server answered 404.*; from .*reached"
    ):
        store.ensure_model_file(NAME, tmp_path, sources=sources)


def test_public_places_that_do_not_have_the_model_are_named_as_the_reason(tmp_path: Path) -> None:
    with pytest.raises(catalogue.ModelUnavailableError, match="none of the places in MODEL_SOURCES has it"):
        store.ensure_model_file("UVR-MDX-NET-Inst_HQ_4", tmp_path, sources=ModelSources(("modelscope",)))


def test_password_of_a_mirror_stays_out_of_progress_and_message(server: HttpServer, tmp_path: Path) -> None:
    reports: list[DownloadProgress] = []
    mirror = f"http://user:hush@127.0.0.1:{server.port}"
    with pytest.raises(catalogue.ModelUnavailableError) as raised:
        store.ensure_model_file(NAME, tmp_path, sources=ModelSources((mirror,)), on_progress=reports.append)
    assert [report.source for report in reports] == [f"http://…@127.0.0.1:{server.port}/{FILE}"]
    assert "hush" not in raised.value.message


def test_model_that_is_not_offered_for_download_says_so(tmp_path: Path) -> None:
    with pytest.raises(catalogue.ModelUnavailableError, match="supporters only"):
        store.ensure_model_file("UVR-MDX-NET_Main_406", tmp_path)


def test_folder_that_is_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("")
    with pytest.raises(catalogue.ModelUnavailableError, match="MODEL_FILE_DIR cannot be used"):
        store.ensure_model_file(NAME, tmp_path / "models")


def test_two_processes_download_once(server: HttpServer, tmp_path: Path) -> None:
    server.answer(f"/{FILE}", Answer(body=BODY, drip_s=0.02, piece_bytes=300_000))
    with ThreadPoolExecutor(2) as pool:
        calls = [
            pool.submit(store.ensure_model_file, NAME, tmp_path, sources=ModelSources((server.url(""),)))
            for _ in range(2)
        ]
    assert [call.result() for call in calls] == [tmp_path / FILE] * 2
    assert len(server.requests) == 1


def test_an_existing_file_is_replaced_only_with_force(server: HttpServer, tmp_path: Path) -> None:
    server.answer(f"/{FILE}", Answer(body=BODY))
    (tmp_path / FILE).write_bytes(b"damaged")
    with pytest.raises(PermanentError, match="delete it and download it again"):
        store.ensure_model_file(NAME, tmp_path, sources=ModelSources((server.url(""),)))
    assert (
        store.ensure_model_file(NAME, tmp_path, sources=ModelSources((server.url(""),)), force=True).read_bytes()
        == BODY
    )
    assert len(server.requests) == 1


def test_an_existing_file_stays_if_the_new_one_cannot_be_downloaded(server: HttpServer, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(BODY)
    with pytest.raises(catalogue.ModelUnavailableError):
        store.ensure_model_file(NAME, tmp_path, sources=ModelSources((server.url(""),)), force=True)
    assert (tmp_path / FILE).read_bytes() == BODY


def test_check_finds_a_file_that_changed(server: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answer(f"/{FILE}", Answer(body=BODY))
    path = store.ensure_model_file(NAME, tmp_path, sources=ModelSources((server.url(""),)))
    store.verify_model_file(NAME, tmp_path)
    path.write_bytes(b"?" + BODY[1:])
    monkeypatch.setitem(
        catalogue.PARAMETERS, hashlib.md5(path.read_bytes()).hexdigest(), store.MdxParameters(1, 1, 1, 1, "Vocals")
    )
    with pytest.raises(PermanentError, match="has changed since it was downloaded"):
        store.verify_model_file(NAME, tmp_path)


def test_a_download_in_the_background_is_logged_from_its_start(server: HttpServer, tmp_path: Path) -> None:
    server.answer(f"/{FILE}", Answer(body=BODY))
    with structlog.testing.capture_logs() as entries:
        store.ensure_model_file(NAME, tmp_path, sources=ModelSources((server.url(""),)))
    fetching = [entry for entry in entries if entry["event"] == "model.fetching"]
    assert {(entry["model"], entry["source"]) for entry in fetching} == {(NAME, server.url(f"/{FILE}"))}
    assert fetching[0]["bytes"] == 0
    assert (fetching[-1]["bytes"], fetching[-1]["total_bytes"]) == (len(BODY), len(BODY))
    assert len(fetching) == 6


def small_bag() -> catalogue.Model:
    """The entry of htdemucs, with a network that a test can make."""
    bag = catalogue.CATALOGUE["htdemucs.yaml"]
    (network,) = bag.further_files
    made = replace(network, sha256=hashlib.sha256(BODY).hexdigest(), size_bytes=len(BODY))
    return replace(bag, further_files=(made,))


def test_a_bag_of_networks_comes_from_the_first_source_whose_file_has_its_hash(
    server: HttpServer, tmp_path: Path
) -> None:
    bag = small_bag()
    (network,) = bag.further_files
    server.answer(f"/one/{network.name}", Answer(body=b"not it"))
    server.answer(f"/two/{network.name}", Answer(body=BODY))
    sources = ModelSources((server.url("/one"), server.url("/two")))
    reports: list[DownloadProgress] = []
    path = ensure_model_files(bag, tmp_path, sources=sources, on_progress=reports.append)
    assert path == tmp_path / "htdemucs.yaml"
    assert path.read_text() == 'models: ["955717e8"]\n'
    assert (tmp_path / network.name).read_bytes() == BODY
    assert reports[0] == DownloadProgress(server.url(f"/one/{network.name}"), 0, len(BODY))
    assert missing_files(bag, tmp_path) == []
    verify_model_files(bag, tmp_path)


def test_files_that_are_there_are_kept_and_a_forced_download_replaces_them(server: HttpServer, tmp_path: Path) -> None:
    bag = small_bag()
    (network,) = bag.further_files
    (tmp_path / network.name).write_bytes(b"put there by hand")
    nowhere = ModelSources((f"http://127.0.0.1:{free_port()}",))
    ensure_model_files(bag, tmp_path, sources=nowhere)
    assert (tmp_path / network.name).read_bytes() == b"put there by hand"
    with pytest.raises(PermanentError, match="is not the file that it should be"):
        verify_model_files(bag, tmp_path)
    server.answer(f"/{network.name}", Answer(body=BODY))
    ensure_model_files(bag, tmp_path, sources=ModelSources((server.url(""),)), force=True)
    assert (tmp_path / network.name).read_bytes() == BODY


def test_every_public_model_has_a_public_place_for_each_of_its_files() -> None:
    public = [model for model in catalogue.CATALOGUE.values() if model.is_public]
    supporters = {model.name for model in catalogue.CATALOGUE.values()} - {model.name for model in public}
    assert len(supporters) == 11
    for model in public:
        for file in model.files:
            assert file.content or all(url.startswith(("https://", "the Python")) for url in file.places.values())
            assert file.content or file.places


def test_a_folder_that_cannot_be_used_is_explained(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(PermanentError, match=r"htdemucs\.yaml could not be downloaded: MODEL_FILE_DIR cannot be used"):
        ensure_model_files(small_bag(), tmp_path / "models")
