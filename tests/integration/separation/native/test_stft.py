"""The kernels' short-time Fourier transform against its definition in float64, and against numpy's."""

from __future__ import annotations

import weakref
from threading import Thread

import numpy as np
import pytest

from tests.support.audio import snr_db
from tests.unit.separation.mdx.test_stft import segment, spectrum_by_definition
from uvr.separation.mdx.stft import Stft
from uvr.separation.native.bindings import InstructionSet, KernelError, Library
from uvr.separation.native.stft import NativeStft, fastest_stft

pytestmark = pytest.mark.kernels

MIN_DB = 125
SHAPES = {
    "HQ_4": {"n_fft": 6144, "hop_length": 1024, "dim_f": 3072, "frames": 32},
    "a RoFormer": {"n_fft": 2048, "hop_length": 441, "dim_f": 1025, "frames": 37},
    "a narrow window": {"n_fft": 2048, "hop_length": 512, "dim_f": 1025, "frames": 17, "window": 1024},
    "a factor of five": {"n_fft": 5120, "hop_length": 1024, "dim_f": 2048, "frames": 33},
    "factors of three and five": {"n_fft": 7680, "hop_length": 1024, "dim_f": 3841, "frames": 31},
    "one bin": {"n_fft": 4096, "hop_length": 1000, "dim_f": 1, "frames": 5},
    "an odd half": {"n_fft": 30, "hop_length": 7, "dim_f": 16, "frames": 19},
    "two samples": {"n_fft": 2, "hop_length": 1, "dim_f": 2, "frames": 9},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_spectra_and_samples_are_those_of_numpy(kernels: Library, shape: dict[str, int]) -> None:
    exact = Stft(**shape)
    signal = segment(shape["hop_length"] * (shape["frames"] - 1))
    spectrum = exact.forward(signal)
    other = np.random.default_rng(2).standard_normal(spectrum.shape).astype(np.float32)  # with a first and a last bin
    for instruction_set in kernels.instruction_sets:
        stft = NativeStft(**shape, instruction_set=instruction_set)
        assert snr_db(spectrum, stft.forward(signal)) > MIN_DB
        assert snr_db(exact.inverse(other), stft.inverse(other)) > MIN_DB


@pytest.mark.parametrize("n_fft", [2048, 5120, 6144, 7680])
def test_forward_is_the_transform_of_reflected_hann_windowed_frames(kernels: Library, n_fft: int) -> None:
    signal = segment(1024 * 31)
    exact = spectrum_by_definition(signal, n_fft, 1024)[:, : n_fft // 2]
    for instruction_set in kernels.instruction_sets:
        stft = NativeStft(
            n_fft=n_fft, hop_length=1024, dim_f=n_fft // 2, frames=32, instruction_set=instruction_set, threads=2
        )
        assert snr_db(exact, stft.forward(signal)) > MIN_DB


@pytest.mark.usefixtures("kernels")
def test_one_channel_has_the_same_spectrum_as_two_equal_ones() -> None:
    stft = NativeStft(**SHAPES["a RoFormer"], threads=2)
    signal = segment(441 * 36)[:1]
    spectrum = stft.forward(np.broadcast_to(signal, (2, signal.shape[1])))
    assert np.array_equal(np.concatenate([stft.forward(signal)] * 2), spectrum)
    assert np.array_equal(np.concatenate([stft.inverse(spectrum[:2])] * 2), stft.inverse(spectrum))


@pytest.mark.usefixtures("kernels")
def test_several_threads_may_use_one_transform() -> None:
    stft = NativeStft(**SHAPES["HQ_4"], threads=2)
    signals = [segment(1024 * 31) * np.float32(factor) for factor in (1, 2, 4, 8)]
    spectra: list[np.ndarray | None] = [None] * len(signals)

    def transform(number: int) -> None:
        for _ in range(5):
            spectra[number] = stft.forward(signals[number])

    threads = [Thread(target=transform, args=(number,)) for number in range(len(signals))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, spectrum in enumerate(spectra):
        assert np.array_equal(spectrum, spectra[0] * np.float32(2**number))


@pytest.mark.usefixtures("kernels")
def test_a_spectrum_is_written_to_given_memory() -> None:
    stft, signal = NativeStft(**SHAPES["a RoFormer"]), segment(441 * 36)
    memory = np.full((4, 1025, 37), np.nan, np.float32)
    assert stft.forward(signal, memory) is memory
    assert np.array_equal(memory, stft.forward(signal))


@pytest.mark.usefixtures("kernels")
def test_its_memory_is_freed_without_the_garbage_collector() -> None:
    stft = NativeStft(**SHAPES["a RoFormer"])
    stft.forward(segment(441 * 36))
    kept = weakref.ref(stft)
    del stft
    assert kept() is None


@pytest.mark.usefixtures("kernels")
def test_frames_that_the_kernels_cannot_divide_are_transformed_by_numpy() -> None:
    shape = {"n_fft": 2 * 7 * 11, "hop_length": 50, "dim_f": 70, "frames": 9}
    with pytest.raises(KernelError, match="no kernel for this instruction set or shape"):
        NativeStft(**shape)
    assert isinstance(fastest_stft(**shape), Stft)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(
    "wrong",
    [{"dim_f": 1026}, {"dim_f": 0}, {"hop_length": 0}, {"hop_length": 2049}, {"frames": 2}],
    ids=str,
)
def test_impossible_shapes_are_errors(wrong: dict[str, int]) -> None:
    with pytest.raises(KernelError, match="wrong argument"):
        NativeStft(**{"n_fft": 2048, "hop_length": 441, "dim_f": 1025, "frames": 8, "window": 2048} | wrong)


def test_an_instruction_set_of_another_processor_is_an_error(kernels: Library) -> None:
    missing = next(one for one in (InstructionSet.NEON, InstructionSet.AVX2) if one not in kernels.instruction_sets)
    with pytest.raises(KernelError, match="no kernel for this instruction set"):
        NativeStft(**SHAPES["HQ_4"], instruction_set=missing)


@pytest.mark.usefixtures("kernels")
def test_a_segment_or_a_spectrum_of_another_size_is_an_error() -> None:
    stft = NativeStft(**SHAPES["HQ_4"])
    with pytest.raises(ValueError, match="31744 samples"):
        stft.forward(segment(1024 * 30))
    with pytest.raises(ValueError, match="reshape"):
        stft.inverse(np.zeros((4, 3072, 31), np.float32))
