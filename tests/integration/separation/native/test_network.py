"""Whole networks on the kernels, compared with the same graphs in float64: UVR's geometries at a small size."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from bench.standin import Geometry
from tests.support.audio import snr_db
from tests.support.in_double import run_in_double
from tests.support.tdf_networks import (
    TINY,
    spectrum_for,
    tdf_network,
    with_biases,
    with_norms_apart,
    with_norms_folded,
)
from uvr.separation.native import build
from uvr.separation.native.architecture import Architecture, Convolution, Pointwise
from uvr.separation.native.graph_matcher import recognise
from uvr.separation.native.network import NativeNetwork

ROOT = Path(__file__).resolve().parents[4]

# Growth and levels are those of UVR's models; bins and frames are as few as leave parts of tiles at every level.
GEOMETRIES = {
    "inst_hq_4": (Geometry(bins=96, frames=32, growth=48, levels=5, convolutions=2, bottleneck=3), ()),
    "inst_main": (Geometry(bins=64, frames=32, growth=32, levels=5, convolutions=2, bottleneck=2), (with_norms_apart,)),
    "kim_vocal": (Geometry(bins=80, frames=16, growth=48, levels=4, convolutions=3, bottleneck=5), (with_biases,)),
    "voc_ft": (
        Geometry(bins=48, frames=48, growth=32, levels=4, convolutions=2, bottleneck=3),
        (with_norms_apart, with_biases),
    ),
    "9482": (Geometry(bins=64, frames=64, growth=24, levels=4, convolutions=1, bottleneck=4), (with_norms_folded,)),
}


@pytest.fixture(scope="module", params=GEOMETRIES)
def case(request):
    geometry, changes = GEOMETRIES[request.param]
    model, spectrum = tdf_network(geometry, *changes), spectrum_for(geometry)
    return recognise(model.SerializeToString()), spectrum, run_in_double(model, spectrum)


@pytest.mark.kernels
def test_whole_networks_match_double_precision(case, arithmetic):
    architecture, spectrum, expected = case
    network = NativeNetwork(architecture, threads=2, **arithmetic._asdict())
    assert (network.instruction_set, network.terms) == arithmetic
    estimate = network.run(spectrum)
    assert estimate.dtype == np.float32
    assert snr_db(expected, estimate) > (100 if network.terms else 70)


@pytest.mark.kernels
@pytest.mark.usefixtures("kernels")
def test_the_number_of_threads_does_not_change_the_result(case, arithmetic):
    architecture, spectrum, _ = case
    networks = [NativeNetwork(architecture, threads=n, **arithmetic._asdict()) for n in (1, 2, 3, 7)]
    assert [network.threads for network in networks] == [1, 2, 3, 7]
    first, *others = (network.run(spectrum).tobytes() for network in networks)
    assert all(other == first for other in others)


def slow_network(layers: int) -> NativeNetwork:
    kernel, bias = np.zeros((32, 32, 3, 3), np.float32), np.zeros(32, np.float32)
    first, last = (Pointwise(np.zeros(shape, np.float32), np.zeros(shape[0], np.float32), relu=False)
                   for shape in ((32, 4), (4, 32)))  # fmt: skip
    return NativeNetwork(Architecture(4, 512, 256, (first, *[Convolution(kernel, bias)] * layers, last)), threads=1)


def tiny(**options: int) -> NativeNetwork:
    return NativeNetwork(recognise(tdf_network().SerializeToString()), **options)


@pytest.mark.usefixtures("kernels")
def test_a_running_network_does_not_hold_the_gil():
    """One run takes a tenth of a second; if it held the GIL, this thread could not count steps meanwhile."""
    network = slow_network(layers=4)
    spectrum, steps = np.zeros((4, 512, 256), np.float32), 0
    thread = threading.Thread(target=network.run, args=(spectrum,))
    thread.start()
    while thread.is_alive():
        thread.join(0.001)
        steps += 1
    assert steps >= 10


@pytest.mark.usefixtures("kernels")
def test_spectra_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="shape"):
        tiny().run(np.zeros((4, TINY.bins, TINY.frames + 1), np.float32))


@pytest.mark.usefixtures("kernels")
def test_spectra_may_have_any_memory_layout():
    spectrum, network = spectrum_for(TINY), tiny(threads=1)
    turned = np.asfortranarray(spectrum)
    assert network.run(turned).tobytes() == network.run(spectrum).tobytes() == tiny(threads=1).run(spectrum).tobytes()


@pytest.mark.usefixtures("kernels")
def test_a_deleted_network_frees_its_memory_and_threads():
    before = threads()
    network = tiny(threads=4)
    network.run(spectrum_for(TINY))
    started = threads() - before
    assert len(started) == 3
    assert network.bytes > 0
    del network
    assert not started & threads()


ENDS_WHILE_A_NETWORK_RUNS = """
import threading, time
import numpy as np
from tests.integration.separation.native.test_network import slow_network
network = slow_network(layers=12)
threading.Thread(target=network.run, args=(np.zeros((4, 512, 256), np.float32),), daemon=True).start()
time.sleep(0.02)
"""


@pytest.mark.usefixtures("kernels")
def test_a_process_may_end_while_a_network_runs():
    command = [sys.executable, "-c", ENDS_WHILE_A_NETWORK_RUNS]
    assert subprocess.run(command, cwd=ROOT, check=False, timeout=60).returncode == 0


def threads() -> set[str]:
    """The ids of the threads of this process, including those of the kernels."""
    if not Path("/proc/self/task").is_dir():
        pytest.skip("this system does not list the threads of a process")
    return {task.name for task in Path("/proc/self/task").iterdir()}


# --- how the library is built -----------------------------------------------------------------------------------------


@pytest.fixture
def other_checkout(tmp_path, monkeypatch) -> Path:
    """A folder for libraries, with one small source."""
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "small.c").write_text("int tdfnet_version(void) { return 1; }\n")
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    monkeypatch.setattr(build, "SOURCES", tmp_path / "kernels")
    return tmp_path


@pytest.mark.usefixtures("kernels")
def test_a_library_is_named_after_its_sources_and_replaces_older_ones(other_checkout, capsys):
    build.main()
    first = build.library_path()
    assert first.is_file()
    assert capsys.readouterr().out.startswith("Built the MDX-Net kernels")
    build.main()
    assert capsys.readouterr().out == ""
    (other_checkout / "kernels" / "small.c").write_text("int tdfnet_version(void) { return 2; }\n")
    second = build.library_path()
    assert second != first
    build.main()
    assert [path.name for path in other_checkout.glob("*lib*")] == [second.name]


@pytest.mark.parametrize(("compiler", "reason"), [("no-such-cc", "no C compiler"), ("false", "failed"), ("/", "no C")])
def test_without_a_working_compiler_one_line_says_so(other_checkout, monkeypatch, capsys, compiler, reason):
    monkeypatch.setenv("CC", compiler)
    build.main()
    output = capsys.readouterr().out
    assert output.count("\n") == 1
    assert "runs on ONNX Runtime" in output
    assert reason in output
    assert not list(other_checkout.glob("*lib*"))


@pytest.mark.usefixtures("kernels")
def test_a_library_that_cannot_be_loaded_is_built_again(other_checkout, capsys):
    """For example if a machine with a newer libc has built it in a shared folder."""
    build.library_path().write_bytes(b"of elsewhere")
    build.main()
    assert capsys.readouterr().out.startswith("Built the MDX-Net kernels")
    build.main()
    assert capsys.readouterr().out == ""
    assert [path.name for path in other_checkout.glob("*lib*")] == [build.library_path().name]


@pytest.mark.usefixtures("kernels")
def test_a_compiler_error_is_quoted(other_checkout, capsys):
    (other_checkout / "kernels" / "small.c").write_text("int tdfnet_version(void) { return unheard_of; }\n")
    build.main()
    assert "unheard_of" in capsys.readouterr().out
    assert not list(other_checkout.glob("*lib*"))


def test_building_needs_only_the_standard_library():
    """As in the build stage of the image, which has a compiler but no packages."""
    code = "import sys, uvr.separation.native.build; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert not {"numpy", "structlog", "pydantic"} & set(done.stdout.split())
