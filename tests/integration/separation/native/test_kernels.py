"""Each kernel matches a float64 reference for every instruction set, shape and number of threads, within its memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import c_void_p
from threading import Thread

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.integration.separation.native.conftest import Arithmetic
from uvr.separation.native.bindings import InstructionSet, KernelError, Library

Array = NDArray[np.float32]
Exact = NDArray[np.float64]
Arguments = tuple[object, ...]

pytestmark = pytest.mark.kernels


@contextmanager
def network(
    kernels: Library,
    shape: tuple[int, int, int],
    *layers: tuple[str, Arguments],
    instruction_set: InstructionSet = InstructionSet.BEST,
    terms: int = 0,
    threads: int = 2,
) -> Iterator[c_void_p]:
    net = kernels.create(instruction_set, threads, shape, terms)
    try:
        for name, arguments in layers:
            kernels.add(net, name, *arguments)
        kernels.finish(net)
        yield net
    finally:
        kernels.free(net)


def result_of(kernels: Library, net: c_void_p, source: Array) -> Array:
    result = np.full((kernels.outputs_of(net), *source.shape[1:]), np.nan, np.float32)
    kernels.run(net, source, result)
    return result


def decibels(exact: Exact, result: Array) -> float:
    return float(10 * np.log10(np.sum(exact**2) / max(np.sum((exact - result) ** 2), 1e-300)))


def numbers(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# References: what tdfnet.h promises, on arrays of shape (channels, bins, frames).


def pointwise(x: Exact, weight: Array, bias: Array, relu: bool = True) -> Exact:
    y = np.einsum("oi,ift->oft", weight.astype(float), x) + bias[:, None, None]
    return np.maximum(y, 0) if relu else y


def convolution(x: Exact, weight: Array, bias: Array) -> Exact:
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    y = np.zeros((len(weight), *x.shape[1:])) + bias[:, None, None]
    for t in range(3):
        for f in range(3):
            window = padded[:, f : f + x.shape[1], t : t + x.shape[2]]
            y += np.einsum("oi,ift->oft", weight[:, :, t, f].astype(float), window)
    return np.maximum(y, 0)


def tdf(x: Exact, *weights: Array | None) -> Exact:
    y = x
    for weight, bias, scale, shift in (weights[:4], weights[4:]):
        assert weight is not None
        assert scale is not None
        assert shift is not None
        y = np.einsum("cft,fh->cht", y, weight.astype(float)) + (0 if bias is None else bias[:, None])
        y = np.maximum(y * scale[:, None, None] + shift[:, None, None], 0)
    return x + y


def down(x: Exact, weight: Array, bias: Array) -> Exact:
    y = sum(
        np.einsum("oi,ift->oft", weight[:, :, t, f].astype(float), x[:, f::2, t::2]) for t in range(2) for f in range(2)
    )
    return np.maximum(y + bias[:, None, None], 0)


def up(x: Exact, kept: Exact, weight: Array, bias: Array) -> Exact:
    y = np.empty((weight.shape[1], x.shape[1] * 2, x.shape[2] * 2))
    for t in range(2):
        for f in range(2):
            y[:, f::2, t::2] = np.einsum("io,ift->oft", weight[:, :, t, f].astype(float), x)
    return np.maximum(y + bias[:, None, None], 0) * kept


# Layers with random weights.


def random_pointwise(inputs: int, outputs: int, relu: bool = True) -> tuple[str, Arguments]:
    return "pointwise", (outputs, int(relu), numbers(1, outputs, inputs), numbers(2, outputs))


def random_convolution(inputs: int, outputs: int, seed: int = 3) -> tuple[str, Arguments]:
    weight = numbers(seed, outputs, inputs, 3, 3) / np.float32(np.sqrt(9 * inputs))
    return "convolution", (outputs, weight, numbers(seed + 1, outputs) / 4)


def random_tdf(channels: int, bins: int, hidden: int, bias: bool) -> tuple[str, Arguments]:
    halves = [
        (
            numbers(seed, *shape) / np.float32(np.sqrt(shape[0])),
            numbers(seed + 1, shape[1]) if bias else None,
            numbers(seed + 2, channels),
            numbers(seed + 3, channels),
        )
        for seed, shape in ((5, (bins, hidden)), (9, (hidden, bins)))
    ]
    return "tdf", (hidden, *halves[0], *halves[1])


def random_down(inputs: int, outputs: int) -> tuple[str, Arguments]:
    return "down", (outputs, numbers(13, outputs, inputs, 2, 2) / np.float32(np.sqrt(4 * inputs)), numbers(14, outputs))


def random_up(inputs: int, outputs: int) -> tuple[str, Arguments]:
    return "up", (outputs, numbers(15, inputs, outputs, 2, 2) / np.float32(np.sqrt(inputs)), numbers(16, outputs))


def small_network(channels: int, bins: int) -> list[tuple[str, Arguments]]:
    return [
        random_pointwise(4, channels),
        random_convolution(channels, channels),
        random_tdf(channels, bins, 7, bias=True),
        random_down(channels, 2 * channels),
        random_convolution(2 * channels, 2 * channels, seed=17),
        random_tdf(2 * channels, bins // 2, 3, bias=False),
        random_up(2 * channels, channels),
        random_convolution(channels, channels, seed=19),
        random_pointwise(channels, 4, relu=False),
    ]


def expected(x: Exact, layers: list[tuple[str, Arguments]]) -> Exact:
    """The output of a list of layers for `x`."""
    kept: list[Exact] = []
    plain: dict[str, Callable[..., Exact]] = {"convolution": convolution, "tdf": tdf, "down": down}
    for name, (_, *weights) in layers:
        if name == "down":
            kept.append(x)
        if name == "pointwise":
            relu, weight, bias = weights
            x = pointwise(x, weight, bias, bool(relu))  # type: ignore[arg-type]
        elif name == "up":
            x = up(x, kept.pop(), *weights)  # type: ignore[arg-type]
        else:
            x = plain[name](x, *weights)
    return x


# Channels in and out, bins, frames: whole tiles, parts of tiles, images smaller than one; and one to five vectors.
CONVOLUTIONS = [
    *((4, 4, 1, 1), (8, 16, 3, 2), (16, 32, 17, 5), (48, 48, 133, 9)),
    *((32, 64, 64, 8), (80, 40, 41, 6), (64, 96, 30, 7)),
]


@pytest.mark.parametrize(("inputs", "outputs", "bins", "frames"), CONVOLUTIONS)
def test_convolution_matches_the_reference(
    kernels: Library, arithmetic: Arithmetic, inputs: int, outputs: int, bins: int, frames: int
) -> None:
    x, layer = numbers(0, inputs, bins, frames), random_convolution(inputs, outputs)

    with network(kernels, x.shape, layer, **arithmetic._asdict()) as net:
        result = result_of(kernels, net, x)

    assert decibels(expected(x.astype(float), [layer]), result) > 105


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("channels", "bins", "hidden", "frames"),
    [(4, 1, 1, 1), (16, 37, 5, 3), (48, 301, 38, 2), (32, 140, 130, 2), (24, 66, 64, 4), (16, 290, 162, 9)],
)
def test_tdf_matches_the_reference(
    kernels: Library, arithmetic: Arithmetic, channels: int, bins: int, hidden: int, frames: int, bias: bool
) -> None:
    x, layer = numbers(0, channels, bins, frames), random_tdf(channels, bins, hidden, bias)

    with network(kernels, x.shape, layer, **arithmetic._asdict()) as net:
        result = result_of(kernels, net, x)

    assert decibels(expected(x.astype(float), [layer]), result) > 120


@pytest.mark.parametrize(
    ("inputs", "outputs", "bins", "frames"), [(4, 8, 2, 2), (16, 48, 26, 4), (48, 96, 50, 6), (32, 64, 8, 10)]
)
def test_down_and_up_match_the_reference(
    kernels: Library, arithmetic: Arithmetic, inputs: int, outputs: int, bins: int, frames: int
) -> None:
    x, layers = numbers(0, inputs, bins, frames), [random_down(inputs, outputs), random_up(outputs, inputs)]

    with network(kernels, x.shape, *layers, **arithmetic._asdict()) as net:
        result = result_of(kernels, net, x)

    assert decibels(expected(x.astype(float), layers), result) > 120


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(("inputs", "outputs"), [(4, 48), (48, 4), (3, 5), (1, 1), (32, 16)])
def test_pointwise_matches_the_reference(
    kernels: Library, arithmetic: Arithmetic, inputs: int, outputs: int, relu: bool
) -> None:
    x, layer = numbers(0, inputs, 19, 21), random_pointwise(inputs, outputs, relu)

    with network(kernels, x.shape, layer, **arithmetic._asdict()) as net:
        result = result_of(kernels, net, x)

    assert decibels(expected(x.astype(float), [layer]), result) > 120


channels = st.integers(1, 26).map(lambda count: 4 * count) | st.integers(1, 7).map(lambda count: 16 * count)
sides = st.integers(1, 60)


@st.composite
def layers_of_any_shape(draw: st.DrawFn) -> tuple[tuple[int, int, int], list[tuple[str, Arguments]]]:
    """A shape, and layers that fit it."""
    inputs, outputs, bins, frames = draw(channels), draw(channels), draw(sides), draw(st.integers(1, 18))
    kind = draw(st.sampled_from(["convolution", "tdf", "down_and_up", "pointwise"]))
    if kind == "convolution":
        return (inputs, bins, frames), [random_convolution(inputs, outputs)]
    if kind == "tdf":
        return (inputs, bins, frames), [random_tdf(inputs, bins, draw(sides), draw(st.booleans()))]
    if kind == "down_and_up":
        return (inputs, 2 * bins, 2 * frames), [random_down(inputs, outputs), random_up(outputs, inputs)]
    any_number = st.integers(1, 70)
    inputs, outputs = draw(any_number), draw(any_number)
    return (inputs, bins, frames), [random_pointwise(inputs, outputs, draw(st.booleans()))]


def test_layers_of_any_shape_match_the_reference(kernels: Library, arithmetic: Arithmetic) -> None:
    """Shapes that no table has. They are the same in every run, so a failure can be repeated."""
    examples = 25 if kernels.best == InstructionSet.NEON else 150  # an emulator takes a second for each
    slow = [HealthCheck.too_slow]  # as any test on a busy machine

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=slow)
    @given(layers_of_any_shape(), st.sampled_from([1, 2, 3, 7]))
    def check(case: tuple[tuple[int, int, int], list[tuple[str, Arguments]]], threads: int) -> None:
        shape, layers = case
        x = numbers(0, *shape)
        with network(kernels, shape, *layers, **arithmetic._asdict(), threads=threads) as net:
            result = result_of(kernels, net, x)
        exact = expected(x.astype(float), layers)
        assert np.max(np.abs(exact - result)) < 1e-5 * max(np.max(np.abs(exact)), 1)

    check()


@pytest.mark.parametrize("channels", [4, 24, 48])
def test_whole_network_matches_the_reference(kernels: Library, arithmetic: Arithmetic, channels: int) -> None:
    """24 is not a multiple of AVX-512's vector width, so those layers run on narrower instruction sets."""
    x, layers = numbers(0, 4, 66, 18), small_network(channels, 66)

    with network(kernels, x.shape, *layers, **arithmetic._asdict()) as net:
        result = result_of(kernels, net, x)
        assert kernels.instruction_set_of(net) in (arithmetic.instruction_set, InstructionSet.NEON)
        assert kernels.terms_of(net) == arithmetic.terms

    assert decibels(expected(x.astype(float), layers), result) > 90


def test_result_is_bit_identical_for_any_number_of_threads(kernels: Library, arithmetic: Arithmetic) -> None:
    x, layers = numbers(0, 4, 140, 20), small_network(48, 140)
    results = []

    for threads in (1, 2, 3, 7):
        with network(kernels, x.shape, *layers, **arithmetic._asdict(), threads=threads) as net:
            assert kernels.threads_of(net) == threads
            results += [result_of(kernels, net, x).tobytes() for _ in range(2)]

    assert len(set(results)) == 1


def test_networks_of_one_process_run_in_parallel(kernels: Library) -> None:
    """With different instruction sets and numbers of threads, and one network called by several threads."""
    x, layers = numbers(0, 4, 70, 16), small_network(16, 70)
    truth, faults = expected(x.astype(float), layers), []

    def check(net: c_void_p) -> None:
        results = [result_of(kernels, net, x) for _ in range(5)]
        faults.extend(result for result in results if not decibels(truth, result) > 90)

    with (
        network(kernels, x.shape, *layers, threads=3) as wide,
        network(kernels, x.shape, *layers, instruction_set=InstructionSet.BASELINE) as narrow,
    ):
        runs = [Thread(target=check, args=[net]) for net in (wide, narrow, wide)]
        for run in runs:
            run.start()
        for run in runs:
            run.join()

    assert not faults


def test_result_does_not_depend_on_the_run_before(kernels: Library) -> None:
    x, other, layers = numbers(0, 4, 26, 10), numbers(1, 4, 26, 10) * 1000, small_network(16, 26)

    with network(kernels, x.shape, *layers) as net:
        first = result_of(kernels, net, x)
        result_of(kernels, net, other)
        assert np.array_equal(result_of(kernels, net, x), first)


@pytest.mark.parametrize(
    ("threads", "shape"),
    [(0, (4, 8, 8)), (257, (4, 8, 8)), (1, (0, 8, 8)), (1, (4, -1, 8)), (1, (65536, 65536, 65536))],
)
def test_network_of_an_invalid_shape_is_refused(kernels: Library, threads: int, shape: tuple[int, int, int]) -> None:
    with pytest.raises(KernelError, match="wrong argument"):
        kernels.create(InstructionSet.BEST, threads, shape)


def test_unsupported_instruction_set_is_refused(kernels: Library) -> None:
    missing = InstructionSet.NEON if kernels.best != InstructionSet.NEON else InstructionSet.AVX2

    with pytest.raises(KernelError, match="no kernel for this instruction set"):
        kernels.create(missing, 1, (4, 8, 8))


def test_layers_that_do_not_fit_are_refused(kernels: Library) -> None:
    with pytest.raises(KernelError, match="or shape"), network(kernels, (3, 8, 8), random_convolution(3, 3)):
        pass
    with pytest.raises(KernelError, match="or shape"), network(kernels, (4, 7, 8), random_down(4, 8)):
        pass
    with pytest.raises(KernelError, match="out of order"), network(kernels, (4, 8, 8), random_up(4, 4)):
        pass
    with pytest.raises(KernelError, match="out of order"), network(kernels, (4, 8, 8), random_down(4, 8)):
        pass
    layers = random_down(4, 8), random_up(8, 12)
    with pytest.raises(KernelError, match="wrong argument"), network(kernels, (4, 8, 8), *layers):
        pass
    with pytest.raises(KernelError, match="out of order"), network(kernels, (4, 8, 8)):
        pass


def test_refused_layer_does_not_change_the_network(kernels: Library) -> None:
    x, layer = numbers(0, 4, 9, 7), random_pointwise(4, 8)
    net = kernels.create(InstructionSet.BEST, 2, x.shape)

    with pytest.raises(KernelError):
        kernels.add(net, *random_up(4, 4)[:1], *random_up(4, 4)[1])
    with pytest.raises(KernelError):
        kernels.run(net, x, np.empty_like(x))
    kernels.add(net, layer[0], *layer[1])
    kernels.finish(net)
    with pytest.raises(KernelError):
        kernels.add(net, layer[0], *layer[1])
    result = result_of(kernels, net, x)
    kernels.free(net)

    assert decibels(expected(x.astype(float), [layer]), result) > 120
