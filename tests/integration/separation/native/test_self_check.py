"""The kernels are used only after they have agreed with ONNX Runtime, which a record remembers."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import onnx
import pytest
import structlog

from bench import standin
from tests.support.audio import snr_db
from tests.support.check_processes import InCheckProcess, in_check_process
from tests.support.checked_models import GEOMETRY, opened, record_of
from tests.support.networks import HQ_4, PARAMETERS
from tests.support.processes import is_running
from tests.support.waiting import eventually
from uvr.models.catalogue import MdxParameters
from uvr.models.store import parameters_of
from uvr.separation.mdx.engine import MdxEngine
from uvr.separation.mdx.self_check import fixed_spectrum
from uvr.separation.native import bindings, self_check
from uvr.separation.native import check_process as check_process_module
from uvr.separation.native.network import NativeNetwork
from uvr.separation.native.self_check import MAX_TRIES, MIN_SNR_DB, Record, Verdict

SMALL = MdxParameters(compensate=1.0, dim_f=640, dim_t=32, n_fft=1280, primary_stem="Vocals")
SPECTRUM = standin.spectrum(3.0, GEOMETRY)

pytestmark = pytest.mark.usefixtures("kernels")


@pytest.fixture
def model(unchecked_model) -> Path:
    return unchecked_model


@pytest.fixture
def check_process(tmp_path, monkeypatch) -> InCheckProcess:
    return in_check_process(tmp_path / "check", monkeypatch)


def reference(model: Path) -> np.ndarray:
    return opened(model, backend="onnxruntime").run(SPECTRUM)


# --- the check --------------------------------------------------------------------------------------------------------


def test_a_model_is_checked_once_and_for_all_when_it_is_opened(model, monkeypatch):
    first = opened(model)
    assert isinstance(first, NativeNetwork)
    assert snr_db(reference(model), first.run(SPECTRUM)) > MIN_SNR_DB["float32"]
    entry = json.loads(record_of(model).path.read_text())
    assert entry["snr_db"] > MIN_SNR_DB["float32"]
    assert entry["model"] == "small.onnx"
    monkeypatch.setattr(self_check, "run_check", lambda _comparison: pytest.fail("it was checked again"))
    assert isinstance(opened(model), NativeNetwork)


def test_the_process_that_opens_a_model_never_has_onnxruntime(model):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        backend, has_it = pool.apply(separates_without_onnxruntime, [model])
    assert (backend, has_it) == ("native", False)
    assert record_of(model).read().agrees


def separates_without_onnxruntime(model: Path) -> tuple[str, bool]:
    engine = MdxEngine(model, parameters_of(model), threads=1)
    maps = Path("/proc/self/maps")
    has_it = "onnxruntime" in sys.modules or (maps.exists() and "onnxruntime" in maps.read_text())
    return engine.backend, has_it


WRONG = "-spectrum"
SILENT = "spectrum * 0"
NOT_A_NUMBER = "spectrum * float('nan')"
INFINITE = "spectrum + float('inf')"


def kernels_give(estimate: str) -> str:
    return f"""
from uvr.separation.native.network import NativeNetwork
NativeNetwork.run = lambda self, spectrum: {estimate}
"""


def check_dies(signal_name: str, condition: str = "True") -> str:
    return f"""
import os, signal
from uvr.separation.native.network import NativeNetwork
run = NativeNetwork.run
def die(self, spectrum):
    if {condition}:
        os.kill(os.getpid(), signal.{signal_name})
    return run(self, spectrum)
NativeNetwork.run = die
"""


@pytest.mark.parametrize("estimate", [WRONG, SILENT, NOT_A_NUMBER, INFINITE])
def test_kernels_that_disagree_are_never_used(model, check_process, estimate):
    check_process(kernels_give(estimate))
    for _ in range(2):  # the second time by the record
        with structlog.testing.capture_logs() as logs:
            network = opened(model)
        assert network.backend == "onnxruntime"
        (warning,) = (line for line in logs if line["event"] == "network.decided")
        assert warning["log_level"] == "warning"
        assert "; at least 60 dB are required" in warning["reason"]
        assert record_of(model).read().snr_db < 10
    json.loads(record_of(model).path.read_text(), parse_constant=pytest.fail)  # "NaN" is no JSON


def test_a_network_that_answers_with_silence_is_judged_too(tmp_path):
    """No level of the stem is needed: errors are compared with the level of the mixture."""
    model = standin.ensure(tmp_path / "silent.onnx", GEOMETRY)
    changed = onnx.load(model)
    for name in changed.graph.node[-1].input[1:]:
        (weights,) = (each for each in changed.graph.initializer if each.name == name)
        weights.raw_data = bytes(len(weights.raw_data))
    onnx.save(changed, model)
    assert opened(model).backend == "native"
    assert record_of(model).read().agrees


def test_a_check_process_that_dies_before_it_reads_is_an_unfinished_check(check_process):
    check_process("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")

    class Late:
        def __reduce__(self) -> tuple[type, tuple[()]]:
            time.sleep(1)  # the process is dead by then
            return (int, ())

    with pytest.raises(check_process_module.UnfinishedCheckError, match="its process was killed"):
        check_process_module.run_check(Late())


def test_a_check_that_lacks_memory_is_repeated_with_a_quarter_of_the_spectrum(model, check_process):
    check_process(check_dies("SIGKILL", f"spectrum.shape[2] == {GEOMETRY.frames}"))
    with structlog.testing.capture_logs() as logs:
        assert opened(model).backend == "native"
    (unfinished,) = (line for line in logs if line["event"] == "network.check_unfinished")
    assert "not enough memory" in unfinished["reason"]
    assert record_of(model).read().agrees


def test_where_little_memory_is_left_a_quarter_is_compared_from_the_start(model, check_process):
    check_process(
        check_dies("SIGKILL", f"spectrum.shape[2] == {GEOMETRY.frames}")
        + "from uvr.separation.mdx import self_check\nself_check.available_memory_bytes = lambda: 2**20"
    )
    with structlog.testing.capture_logs() as logs:
        assert opened(model).backend == "native"
    assert not [line for line in logs if line["event"] == "network.check_unfinished"]


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        (check_dies("SIGKILL"), "killed, usually because there was not enough memory"),
        (check_dies("SIGILL"), "died of SIGILL"),
        ("import os; os._exit(3)", "ended with exit code 3"),
        (kernels_give("1 / 0"), "ZeroDivisionError"),
    ],
)
def test_a_check_that_never_finishes_is_not_repeated_forever(model, check_process, code, failure):
    check_process(code)
    with structlog.testing.capture_logs() as logs:
        network = opened(model)
    assert network.backend == "onnxruntime"
    unfinished = [line["tries"] for line in logs if line["event"] == "network.check_unfinished"]
    assert unfinished == list(range(1, MAX_TRIES + 1))
    (warning,) = (line for line in logs if line["event"] == "network.decided")
    assert warning["log_level"] == "warning"
    assert f"the self-check was started {MAX_TRIES} times and never finished" in warning["reason"]
    assert failure in warning["reason"]
    with structlog.testing.capture_logs() as logs:
        assert opened(model).backend == "onnxruntime"
    assert failure in logs[0]["reason"]
    assert "network.check_unfinished" not in {line["event"] for line in logs}


def test_a_check_that_hangs_is_ended_and_says_so(model, check_process, monkeypatch):
    check_process("import time; time.sleep(600)")
    monkeypatch.setattr(check_process_module, "MAX_CHECK_S", 0.5)
    assert opened(model).backend == "onnxruntime"
    assert "it took longer than 0.5 s" in record_of(model).read().failure


def test_tries_count_if_the_whole_container_is_killed_in_a_check(model):
    """Some container runtimes end all processes of a container whose memory runs out."""
    for died_before in range(MAX_TRIES):
        assert record_of(model).read() == Verdict(tries=died_before)
        record_of(model).begin()
    assert opened(model).backend == "onnxruntime"


def test_a_check_ends_with_the_process_that_waits_for_it(model, check_process, tmp_path):
    pid_file = tmp_path / "pid"
    note_pid = f"import os, pathlib\npathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))\n"
    check_process(note_pid + kernels_give("__import__('time').sleep(600)"))
    caller = multiprocessing.get_context("spawn").Process(target=opened_in_a_process, args=[model])
    caller.start()
    check = int(eventually(lambda: pid_file.exists() and pid_file.read_text()))
    assert is_running(check)
    caller.kill()
    caller.join()
    eventually(lambda: not is_running(check))
    assert record_of(model).read().tries == 1


def test_onnxruntime_takes_over_if_the_kernels_cannot_be_set_up(model, monkeypatch):
    def refused(*_arguments: object, **_options: object) -> None:
        raise bindings.KernelError("there is not enough memory")

    record_of(model).conclude(99.0)
    monkeypatch.setattr("uvr.separation.native.network.NativeNetwork.__init__", refused)
    assert opened(model).backend == "onnxruntime"


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


@pytest.mark.parametrize("parameters", [HQ_4, PARAMETERS, SMALL])
def test_the_spectrum_reaches_every_bin_and_is_loud_and_quiet(parameters):
    spectrum = fixed_spectrum(parameters)
    assert spectrum.shape == (4, parameters.dim_f, parameters.dim_t)
    assert np.isfinite(spectrum).all()
    power = np.square(spectrum, dtype=np.float64).sum(axis=0)
    by_bin, by_frame = 10 * np.log10(power.sum(axis=1)), 10 * np.log10(power.sum(axis=0))
    assert by_bin.min() > by_bin.max() - 60
    assert by_frame.max() - by_frame.min() > 40
    assert spectrum.tobytes() == fixed_spectrum(parameters).tobytes()
    sides = np.square(spectrum, dtype=np.float64).reshape(2, -1).sum(axis=1)
    assert 0.1 < sides[0] / sides[1] < 10
    assert not np.allclose(spectrum[:2], spectrum[2:])


# --- the record ------------------------------------------------------------------------------------------------------


def records_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob(".*self-check.json*"))


def test_another_file_of_the_same_name_is_checked_again(model):
    opened(model)
    (first,) = records_in(model.parent)
    changed = onnx.load(model)
    changed.graph.initializer[-1].raw_data = np.full(4, 0.1, np.float32).tobytes()
    onnx.save(changed, model)
    assert record_of(model).read() == Verdict()
    assert opened(model).backend == "native"
    (second,) = records_in(model.parent)
    assert first != second


def test_records_that_apply_to_nothing_are_removed(model):
    old = {
        ".small.onnx.0123456789abcdef.self-check.json": {"model": "small.onnx", "snr_db": 75.0, "tries": 0},
        ".gone.onnx.0123456789abcdef.self-check.json": record_of(model)._about | {"model": "gone.onnx"},
        ".small.onnx.1111111111111111.self-check.json": record_of(model)._about | {"content": "another file"},
        ".small.onnx.2222222222222222.self-check.json": record_of(model)._about | {"library": "an older one"},
        ".small.onnx.3333333333333333.self-check.json": [],
        ".small.onnx.4444444444444444.self-check.json.123.part": {},
        ".small.onnx.5555555555555555.self-check.json": record_of(model)._about | {"processor": "not seen for months"},
    }
    (model.parent / "other.onnx").touch()
    used = {
        ".small.onnx.6666666666666666.self-check.json": record_of(model)._about | {"processor": "another node's"},
        ".small.onnx.7777777777777777.self-check.json": record_of(model)._about | {"instruction_set": "AVX1024"},
        ".small.onnx.9999999999999999.self-check.json": record_of(model)._about | {"precision": "bfloat16"},
        ".other.onnx.8888888888888888.self-check.json": record_of(model)._about | {"model": "other.onnx"},
    }
    for name, content in (old | used).items():
        (model.parent / name).write_text(json.dumps(content))
    os.utime(model.parent / ".small.onnx.5555555555555555.self-check.json", (0, 0))
    opened(model)
    assert records_in(model.parent) == sorted([*used, record_of(model).path.name])


def test_a_record_in_use_does_not_become_old(model):
    record_of(model).conclude(99.0)
    os.utime(record_of(model).path, (0, 0))
    opened(model)
    assert record_of(model).path.stat().st_mtime > time.time() - 600


def test_with_another_library_or_processor_the_model_is_checked_again(model, monkeypatch):
    record_of(model).conclude(99.0)
    assert record_of(model).read().agrees
    monkeypatch.setattr(self_check, "_processor", lambda: "another one")
    assert record_of(model).read() == Verdict()


def test_each_precision_has_a_verdict_of_its_own(model):
    exact = record_of(model)
    rounded = Record(model, model.read_bytes(), bindings.load(), "bfloat16")
    assert rounded.conclude(40.0) == Verdict(40.0, precision="bfloat16")
    assert rounded.read().agrees
    assert exact.read() == Verdict()
    exact.conclude(40.0)
    assert exact.read().is_refusal
    assert exact.read().sentence == "the self-check found 40.0 dB; at least 60 dB are required"
    rounded.conclude(34.94)
    assert rounded.read().is_refusal
    assert rounded.read().sentence == "the self-check in bfloat16 found 34.9 dB; at least 35 dB are required"


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"tries": "x", "snr_db": 1}', '{"snr_db": 99}'])
def test_a_damaged_record_is_replaced(model, content):
    record_of(model).path.write_text(content)
    assert opened(model).backend == "native"
    assert record_of(model).read().agrees


def test_without_a_writable_folder_each_process_checks(model, monkeypatch):
    def refused(*_arguments: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refused)
    monkeypatch.setattr(self_check, "file_lock", refused)
    assert opened(model).backend == "native"
    assert not record_of(model).path.exists()


def test_records_of_a_read_only_folder_are_in_a_temporary_folder(model, monkeypatch, tmp_path):
    """Otherwise a check that kills the process would kill every later one."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    opened(model)
    assert record_of(model).path.parent.parent.parent == tmp_path / "temporary"
    for folder in list(record_of(model).path.parents)[:2]:
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not list(model.parent.glob(".*"))
    assert opened(model).backend == "native"


def test_a_temporary_folder_of_another_user_is_not_used(model, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    (tmp_path / f"uvr-self-checks-{os.geteuid()}").symlink_to(tmp_path)
    assert record_of(model).path.parent == model.parent


def test_processes_that_check_at_once_agree_on_one_record(model):
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        assert pool.map(opened_in_a_process, [model] * 3) == ["native"] * 3
    entry = json.loads(record_of(model).path.read_text())
    assert entry["snr_db"] > MIN_SNR_DB["float32"]
    assert entry["tries"] == 0
    assert not list(model.parent.glob("*.part"))


def opened_in_a_process(model: Path) -> str:
    return opened(model).backend


def test_a_process_that_waited_uses_the_verdict_of_the_other(model, monkeypatch):
    record = record_of(model)

    def lock(_record: Record) -> nullcontext[None]:
        record.conclude(99.0)  # by the other one, meanwhile
        return nullcontext()

    monkeypatch.setattr(Record, "lock", lock)
    monkeypatch.setattr(self_check, "run_check", lambda _comparison: pytest.fail("it was checked again"))
    assert opened(model).backend == "native"
