"""Samples on disk come back as they went."""

from __future__ import annotations

import numpy as np
import pytest

from uvr.separation.spool import Spool


@pytest.fixture
def spool(tmp_path):
    with Spool(tmp_path, channels=2) as spool:
        yield spool


def test_any_part_can_be_read_while_more_is_appended(spool):
    song = np.random.default_rng(0).standard_normal((2, 1000)).astype(np.float32)
    spool.append(song[:, :600])
    assert (spool.read(100, 500) == song[:, 100:500]).all()
    spool.append(song[:, 600:])
    assert (spool.read(500, 1000) == song[:, 500:]).all()
    assert spool.samples == 1000
    assert spool.peak == np.abs(song).max()


def test_outside_the_samples_lies_silence(spool):
    spool.append(np.ones((2, 10), np.float32))
    around = spool.read(-5, 20)
    assert around.shape == (2, 25)
    assert around.sum() == 20
    assert (around[:, 5:15] == 1).all()
    assert not spool.read(-20, -10).any()
    assert not spool.read(30, 40).any()


def test_a_spool_has_no_name_that_a_crash_could_leave_behind(spool, tmp_path):
    spool.append(np.ones((2, 100_000), np.float32))
    assert list(tmp_path.iterdir()) == []
