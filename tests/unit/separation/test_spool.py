"""Samples on disk are read back unchanged."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from uvr.separation.spool import Spool

SONG = np.random.default_rng(0).standard_normal((2, 1000)).astype(np.float32)


@pytest.fixture
def spool(tmp_path):
    return Spool.of([SONG[:, :600], SONG[:, 600:600], SONG[:, 600:]], tmp_path / "song.f32", 2)


def test_any_part_can_be_read(spool):
    assert (spool.read(100, 700) == SONG[:, 100:700]).all()
    assert (np.hstack(list(spool.blocks())) == SONG).all()


def test_length_and_peak_are_known_once_it_is_written(spool):
    assert spool.samples == 1000
    assert spool.peak == np.abs(SONG).max()


def test_the_peak_may_be_a_negative_sample(tmp_path):
    assert Spool.of([np.array([[0.25, -0.5]], np.float32)], tmp_path / "song.f32", 1).peak == 0.5


def test_reading_outside_the_samples_gives_zeros(spool):
    around = spool.read(-5, 1010)
    assert around.shape == (2, 1015)
    assert (around[:, 5:1005] == SONG).all()
    assert not around[:, :5].any()
    assert not around[:, 1005:].any()
    assert not spool.read(-20, -10).any()
    assert not spool.read(1030, 1040).any()


def test_a_spool_may_be_empty(tmp_path):
    empty = Spool.of([], tmp_path / "song.f32", 2)
    assert (empty.samples, empty.peak, list(empty.blocks())) == (0, 0.0, [])


def test_a_pickled_spool_reads_the_same_samples(spool):
    assert (pickle.loads(pickle.dumps(spool)).read(0, 1000) == SONG).all()


def test_an_existing_file_is_not_overwritten(spool):
    with pytest.raises(FileExistsError):
        Spool.of([SONG], spool.path, 2)
