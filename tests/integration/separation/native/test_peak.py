"""The loops to which benchmarks compare the kernels, and the times of the steps of a run."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tests.integration.separation.native.test_kernels import network, numbers, small_network
from tests.support.waiting import eventually
from uvr.separation.native.bindings import InstructionSet, KernelError, Library
from uvr.separation.native.peak import Peak, peak_rate

ARRAY_BYTES = 1 << 24
WITH_BFLOAT16 = {InstructionSet.AMX, InstructionSet.AVX512_BF16}


@pytest.mark.parametrize("peak", Peak)
def test_every_instruction_set_has_a_rate(kernels: Library, peak: Peak) -> None:
    for instruction_set in kernels.instruction_sets:
        rate = peak_rate(peak, instruction_set, 1, array_bytes=ARRAY_BYTES, seconds=0.01)
        assert 1e8 < rate < 1e13


def test_a_wider_instruction_set_multiplies_faster(kernels: Library) -> None:
    sets = [one for one in kernels.instruction_sets if one not in WITH_BFLOAT16]
    eventually(lambda: is_falling(Peak.MULTIPLY, sets), "the rates of a machine that is not disturbed")


def test_instructions_for_bfloat16_multiply_tiles_faster_than_others(kernels: Library) -> None:
    sets = [one for one in kernels.instruction_sets if one in WITH_BFLOAT16]
    if not sets:
        pytest.skip("this processor has no fast instructions for bfloat16")
    for one in sets:
        eventually(lambda one=one: is_falling(Peak.TILES, [one, InstructionSet.AVX512]))
        eventually(lambda one=one: peak_rate(Peak.TILES, one, 1) > 1.2 * peak_rate(Peak.MULTIPLY, one, 1))


def is_falling(peak: Peak, sets: list[InstructionSet]) -> bool:
    """Whether each of these sets has a lower rate than the one before."""
    rates = [peak_rate(peak, instruction_set, 1, seconds=0.1) for instruction_set in sets]
    return rates == sorted(rates, reverse=True)


@pytest.mark.usefixtures("kernels")
def test_the_multiply_adds_that_are_counted_need_their_time() -> None:
    """No processor does more than four multiply-adds of its widest vectors in a cycle, at 8 GHz at most."""
    assert peak_rate(Peak.MULTIPLY, InstructionSet.BEST, 1, seconds=0.05) < 4 * 16 * 8e9


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(("threads", "size"), [(0, ARRAY_BYTES), (257, ARRAY_BYTES), (1, 0)])
def test_wrong_arguments_are_errors(threads: int, size: int) -> None:
    with pytest.raises(KernelError, match="wrong argument"):
        peak_rate(Peak.READ, InstructionSet.BEST, threads, array_bytes=size)


def test_an_instruction_set_of_another_processor_is_an_error(kernels: Library) -> None:
    missing = next(one for one in (InstructionSet.NEON, InstructionSet.AVX2) if one not in kernels.instruction_sets)
    with pytest.raises(KernelError, match="no kernel for this instruction set"):
        peak_rate(Peak.MULTIPLY, missing, 1)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_times_of_the_parts_add_up_to_that_of_the_run(kernels: Library, threads: int) -> None:
    layers = small_network(48, 64)
    with network(kernels, (4, 64, 128), *layers, threads=threads) as net:
        source, result = numbers(0, 4, 64, 128), np.empty((4, 64, 128), np.float32)
        kernels.run(net, source, result)
        started = time.perf_counter()
        kernels.run(net, source, result)
        whole_s = threads * (time.perf_counter() - started)
        parts = [kernels.seconds_of(net, part) for part in range(len(layers) + 2)]
        assert min(seconds for seconds, *_ in parts) > 0
        assert 0.3 * whole_s < sum(seconds for seconds, *_ in parts) <= whole_s
        for (name, _), (seconds, *steps) in zip(layers, parts[1:-1], strict=True):
            if name == "convolution":
                assert min(steps) > 0
                assert 0.5 * seconds < sum(steps) <= seconds
            else:
                assert steps == [0, 0, 0]


def test_a_network_that_never_ran_has_no_times(kernels: Library) -> None:
    layers = small_network(16, 8)
    with network(kernels, (4, 8, 8), *layers) as net:
        assert {kernels.seconds_of(net, part) for part in range(len(layers) + 2)} == {(0.0, 0.0, 0.0, 0.0)}
        for part in (-1, len(layers) + 2):
            with pytest.raises(KernelError, match="wrong argument"):
                kernels.seconds_of(net, part)
