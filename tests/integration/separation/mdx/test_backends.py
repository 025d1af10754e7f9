"""NETWORK_BACKEND and DEVICE: what computes an MDX-Net network, and that a song sounds the same on each backend."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog

from tests.support.audio import noise, read_audio, snr_db, write_audio
from tests.support.checked_models import opened, record_of
from tests.support.networks import write_model
from tests.support.song import separate_song
from uvr.errors import PermanentError
from uvr.models.catalogue import MdxParameters
from uvr.models.store import parameters_of
from uvr.separation.mdx import backends
from uvr.separation.mdx.backends import open_network
from uvr.separation.mdx.engine import MdxEngine
from uvr.separation.native import bindings, self_check
from uvr.separation.native.network import NativeNetwork
from uvr.separation.native.self_check import MIN_SNR_DB

pytestmark = pytest.mark.usefixtures("kernels")


@pytest.fixture
def model(unchecked_model) -> Path:
    return unchecked_model


def test_native_uses_the_kernels_from_the_start(model, monkeypatch):
    monkeypatch.setattr(self_check, "run_check", lambda _comparison: pytest.fail("it was checked"))
    assert isinstance(opened(model, backend="native"), NativeNetwork)


def test_native_refuses_a_model_that_failed_the_check(model):
    record_of(model).conclude(12.3)
    with pytest.raises(PermanentError, match=r"NETWORK_BACKEND=native, but the self-check found 12\.3 dB"):
        opened(model, backend="native")


@pytest.mark.parametrize("backend", ["auto", "native"])
def test_onnxruntime_runs_a_model_that_is_not_a_convtdfnet(tmp_path, backend):
    model = write_model(tmp_path / "scaling.onnx")
    if backend == "native":
        with pytest.raises(PermanentError, match=r"do not support scaling\.onnx: mixture_spectrum goes into Mul"):
            opened(model, backend=backend)
    else:
        with structlog.testing.capture_logs() as logs:
            assert opened(model, backend=backend).backend == "onnxruntime"
        assert any("goes into Mul" in line.get("reason", "") for line in logs)


@pytest.mark.parametrize("backend", ["auto", "native"])
def test_without_a_library_the_reason_is_reported(model, monkeypatch, backend, tmp_path):
    monkeypatch.setattr(bindings, "library_path", lambda: tmp_path / "libtdfnet.so")
    bindings.load.cache_clear()
    try:
        if backend == "native":
            with pytest.raises(PermanentError, match="make setup"):
                opened(model, backend=backend)
        else:
            assert opened(model, backend=backend).backend == "onnxruntime"
        (tmp_path / "libtdfnet.so").write_bytes(b"no library")
        with pytest.raises(bindings.LibraryError, match="cannot be loaded"):
            bindings.load()
    finally:
        bindings.load.cache_clear()


def test_a_network_of_another_shape_is_refused(model):
    parameters = MdxParameters(compensate=1.0, dim_f=640, dim_t=64, n_fft=1280, primary_stem="Vocals")
    with pytest.raises(PermanentError, match="does not match its parameters"):
        open_network(model, parameters)


def test_onnxruntime_runs_networks_on_a_graphics_card(model, monkeypatch):
    """Without a card the session reports "cpu" and the kernels are used; with one they are not examined."""
    monkeypatch.setattr(backends.devices, "may_have_cuda", lambda: True)
    record_of(model).conclude(99.0)
    assert opened(model).backend == "native"
    monkeypatch.setattr("uvr.separation.mdx.onnxruntime_network.OnnxRuntimeNetwork.provider", "cuda", raising=False)
    monkeypatch.setattr("uvr.separation.devices.short_name", lambda _provider: "cuda")
    assert opened(model).backend == "onnxruntime"


def test_a_song_sounds_the_same_on_each_backend_and_names_it(model, tmp_path):
    song = write_audio(tmp_path / "song.wav", noise(2), codec="pcm_f32le")
    stems, facts = {}, []
    for backend in ("onnxruntime", "auto", "auto"):
        folder = tmp_path / f"{backend}{len(facts)}"
        folder.mkdir()
        engine = MdxEngine(model, parameters_of(model), threads=1, backend=backend)
        made = separate_song(engine, song, folder, max_seconds=60)
        facts.append((made.provider, made.backend, made.facts()["backend"]))
        stems[len(facts)] = read_audio(made.stems["vocals"])
    assert facts == [("cpu", "onnxruntime", "onnxruntime"), *[("cpu", "native", "native")] * 2]
    assert stems[2].tobytes() == stems[3].tobytes()
    assert snr_db(stems[1], stems[2]) > MIN_SNR_DB["float32"]
