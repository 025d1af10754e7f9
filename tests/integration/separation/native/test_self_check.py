"""The choice of the backend: the kernels are used only after they have agreed with ONNX Runtime."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import structlog

from bench import standin
from tests.support.audio import noise, read_audio, snr_db, write_audio
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
from uvr.separation.native.self_check import MAX_TRIES, MIN_SNR_DB, Record, Verdict

GEOMETRY = standin.Geometry(bins=640, frames=32, growth=4, levels=2, convolutions=1)
SPECTRUM = standin.spectrum(3.0, GEOMETRY)

pytestmark = pytest.mark.usefixtures("kernels")


@pytest.fixture(scope="module")
def made_once(tmp_path_factory) -> Path:
    return standin.ensure(tmp_path_factory.mktemp("standin") / "small.onnx", GEOMETRY)


@pytest.fixture
def model(made_once, tmp_path) -> Path:
    """A model without a self-check record."""
    for path in (made_once, made_once.with_name("small.onnx.json")):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path / made_once.name


def opened(model: Path, **options: Any) -> backends.Network:
    return open_network(model, parameters_of(model), threads=1, **options)


def record_of(model: Path) -> Record:
    return Record(model, model.read_bytes(), bindings.load())


def reference(model: Path) -> np.ndarray:
    return opened(model, backend="onnxruntime").run(SPECTRUM)


# --- the check --------------------------------------------------------------------------------------------------------


def test_the_first_segment_decides_for_the_kernels_once_and_for_all(model):
    first = opened(model)
    assert (first.provider, first.backend) == ("cpu", "onnxruntime")
    output = first.run(SPECTRUM)
    assert (first.provider, first.backend) == ("cpu", "native")
    second = opened(model)
    assert isinstance(second, NativeNetwork)
    assert output.tobytes() == first.run(SPECTRUM).tobytes() == second.run(SPECTRUM).tobytes()
    assert snr_db(reference(model), output) > MIN_SNR_DB
    entry = json.loads(record_of(model).path.read_text())
    assert entry["snr_db"] > MIN_SNR_DB
    assert entry["model"] == "small.onnx"


def wrong(_self: NativeNetwork, spectrum: np.ndarray) -> np.ndarray:
    return -spectrum


def silent(_self: NativeNetwork, spectrum: np.ndarray) -> np.ndarray:
    return np.zeros_like(spectrum)


def not_a_number(_self: NativeNetwork, spectrum: np.ndarray) -> np.ndarray:
    return np.full_like(spectrum, np.nan)


def infinite(_self: NativeNetwork, spectrum: np.ndarray) -> np.ndarray:
    return np.full_like(spectrum, np.inf)


def failing(_self: NativeNetwork, _spectrum: np.ndarray) -> np.ndarray:
    raise bindings.KernelError("there is not enough memory")


@pytest.mark.parametrize("fault", [wrong, silent, not_a_number, infinite])
def test_the_result_of_kernels_that_disagree_is_never_used(model, monkeypatch, fault):
    expected = reference(model)
    with monkeypatch.context() as broken, structlog.testing.capture_logs() as logs:
        broken.setattr(NativeNetwork, "run", fault)
        network = opened(model)
        assert network.run(SPECTRUM).tobytes() == expected.tobytes()
        assert network.backend == "onnxruntime"
        assert network.run(SPECTRUM).tobytes() == expected.tobytes()
    (warning,) = (line for line in logs if line["event"] == "network.kernels_refused")
    assert warning["log_level"] == "warning"
    assert warning["snr_db"] < MIN_SNR_DB
    later = opened(model)
    assert (later.backend, later.run(SPECTRUM).tobytes()) == ("onnxruntime", expected.tobytes())
    json.loads(record_of(model).path.read_text(), parse_constant=pytest.fail)  # "NaN" is no JSON


def test_onnxruntime_takes_over_if_the_kernels_fail(model, monkeypatch):
    expected = reference(model)
    monkeypatch.setattr(NativeNetwork, "run", failing)
    network = opened(model)
    assert network.run(SPECTRUM).tobytes() == expected.tobytes()
    assert network.backend == "onnxruntime"


def test_silence_is_not_conclusive(model, monkeypatch):
    network = opened(model)
    monkeypatch.setattr(self_check, "is_conclusive", lambda _segment, _estimate: False)
    for _ in range(3):
        network.run(SPECTRUM)
    assert network.backend == "onnxruntime"
    assert record_of(model).read() == Verdict()
    monkeypatch.undo()
    network.run(SPECTRUM)
    assert network.backend == "native"


@pytest.mark.parametrize(
    ("reference_level", "error_level", "expected_db"),
    [(1.0, 1e-3, 60), (1.0, 1e-4, 80), (0.5, 0.5e-3, 60), (0.01, 0.01e-3, 90), (1.0, 0.0, math.inf)],
)
def test_errors_are_measured_against_the_stem_and_faint_stems_against_the_segment(
    reference_level, error_level, expected_db
):
    segment = np.ones((4, 8, 8), np.float32)
    stem = segment.astype(np.float64) * reference_level
    assert self_check.snr_db(segment, stem, stem + error_level) == pytest.approx(expected_db, abs=0.1)


def test_silent_and_infinite_estimates_are_not_conclusive():
    segment = np.ones((4, 8, 8), np.float32)
    assert self_check.is_conclusive(segment, segment)
    assert not self_check.is_conclusive(segment, segment * 1e-3)
    assert not self_check.is_conclusive(segment, segment * 0)
    assert not self_check.is_conclusive(segment * 0, segment * 0)
    assert not self_check.is_conclusive(segment, segment * np.nan)
    assert not self_check.is_conclusive(segment, segment * np.inf)


# --- the record ------------------------------------------------------------------------------------------------------


def test_another_file_of_the_same_name_is_checked_again(model):
    opened(model).run(SPECTRUM)
    changed = onnx.load(model)
    changed.graph.initializer[-1].raw_data = np.full(4, 0.1, np.float32).tobytes()
    onnx.save(changed, model)
    assert opened(model).backend == "onnxruntime"
    assert record_of(model).read() == Verdict()


def test_with_another_library_or_processor_the_model_is_checked_again(model, monkeypatch):
    opened(model).run(SPECTRUM)
    assert record_of(model).read().agrees
    monkeypatch.setattr(self_check, "_processor", lambda: "another one")
    assert record_of(model).read() == Verdict()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"tries": "x", "snr_db": 1}', '{"snr_db": 99}'])
def test_a_damaged_record_is_replaced(model, content):
    record_of(model).path.write_text(content)
    network = opened(model)
    network.run(SPECTRUM)
    assert network.backend == "native"
    assert record_of(model).read().agrees


def test_without_a_writable_folder_each_process_checks(model, monkeypatch):
    def refused(*_arguments: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refused)
    monkeypatch.setattr(self_check, "file_lock", refused)
    network = opened(model)
    network.run(SPECTRUM)
    assert network.backend == "native"
    assert not record_of(model).path.exists()


def test_records_of_a_read_only_folder_are_in_a_temporary_folder(model, monkeypatch, tmp_path):
    """Otherwise a check that kills the process would kill every later one."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    opened(model).run(SPECTRUM)
    assert record_of(model).path.parent.parent == tmp_path / "temporary"
    assert record_of(model).path.parent.stat().st_mode & 0o777 == 0o700
    assert not list(model.parent.glob(".*"))
    assert opened(model).backend == "native"


def test_a_temporary_folder_of_another_user_is_not_used(model, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    (tmp_path / f"uvr-self-checks-{os.geteuid()}").symlink_to(tmp_path)
    assert record_of(model).path.parent == model.parent


def test_onnxruntime_is_loaded_again_at_a_later_run_if_it_fails_once(model, monkeypatch):
    network = opened(model)
    with monkeypatch.context() as broken:
        broken.setattr(NativeNetwork, "run", failing)
        expected = network.run(SPECTRUM)
        broken.setattr(backends._Loader, "onnxruntime", refused_network)
        with pytest.raises(PermanentError):
            network.run(SPECTRUM)
    assert network.backend == "onnxruntime"
    assert network.run(SPECTRUM).tobytes() == expected.tobytes()


def refused_network(_loader: object) -> backends.Network:
    raise PermanentError("The network cannot be opened.")


def test_a_check_that_kills_the_process_is_not_repeated_forever(model):
    """For example with a forbidden instruction: the child dies at the start of each song."""
    for died_before in range(MAX_TRIES):
        assert record_of(model).read() == Verdict(tries=died_before)
        assert type(opened(model)).__name__ == "_UncheckedNetwork"
        record_of(model).begin()
    with structlog.testing.capture_logs() as logs:
        network = opened(model)
    assert network.backend == "onnxruntime"
    assert [line["reason"] for line in logs if line["log_level"] == "warning"] == [
        f"the self-check was started {MAX_TRIES} times and never finished; delete its record to repeat it"
    ]
    network.run(SPECTRUM)
    assert network.backend == "onnxruntime"


def test_processes_that_check_at_once_agree_on_one_record(model):
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        assert pool.map(checked_in_a_process, [model] * 3) == ["native"] * 3
    entry = json.loads(record_of(model).path.read_text())
    assert entry["snr_db"] > MIN_SNR_DB
    assert entry["tries"] == 0
    assert not list(model.parent.glob("*.part"))


def checked_in_a_process(model: Path) -> str:
    network = opened(model)
    network.run(SPECTRUM)
    return network.backend


def test_the_verdict_of_another_process_is_used(model, monkeypatch):
    network = opened(model)
    record_of(model).conclude(99.0)
    monkeypatch.setattr(Record, "begin", lambda _record: pytest.fail("it was checked again"))
    network.run(SPECTRUM)
    assert network.backend == "native"


# --- NETWORK_BACKEND and DEVICE ---------------------------------------------------------------------------------------


def test_native_uses_the_kernels_from_the_start(model):
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


def test_kernels_do_not_import_onnxruntime(model):
    """After the self-check its import and its memory are not needed."""
    record_of(model).conclude(99.0)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(loads_onnxruntime, [model]) is False


def loads_onnxruntime(model: Path) -> bool:
    import sys

    MdxEngine(model, parameters_of(model), threads=1)
    return "onnxruntime" in sys.modules


# --- a song -----------------------------------------------------------------------------------------------------------


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
    assert snr_db(stems[1], stems[2]) > MIN_SNR_DB
