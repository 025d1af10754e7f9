"""The packed file of a checkpoint: made once, in little memory, as a whole or not at all, and shared by processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.published_roformers import PUBLISHED
from tests.support.roformers import GEOMETRIES, description, write_description, write_model, write_zip
from uvr.errors import PermanentError, TransientError
from uvr.models.packed_files import BESIDE_MODELS
from uvr.separation.native.self_check import Verdict
from uvr.separation.precision import TERMS
from uvr.separation.roformer import checked_weights, engine, packed_weights
from uvr.separation.roformer.bands import Bands
from uvr.separation.roformer.checkpoint import Floats, Tensor
from uvr.separation.roformer.configuration import NetworkShape
from uvr.separation.roformer.packed_weights import Conversion, max_packed_bytes
from uvr.separation.roformer.packing import packed_arrays
from uvr.separation.roformer.weights import read_weights, tensor_sizes

pytestmark = pytest.mark.usefixtures("kernels")

ROOT = Path(__file__).resolve().parents[4]
MIB = 2**20
LARGE = {**GEOMETRIES["kims_hop"], "dim": 192}
"""Its tensors have 47 million numbers: 180 MiB as float32."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path, "own.ckpt", GEOMETRIES["mono"], ["vocals"], target="vocals")


def opened(model: Path, **options: Any) -> engine.RoformerEngine:
    return engine.RoformerEngine(model, model.with_suffix(".yaml"), threads=2, **options)


def packed_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if ".packed" in path.name)


def process(model: Path) -> subprocess.Popen[str]:
    program = [sys.executable, "-m", "tests.support.roformer_process", str(model)]
    return subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def facts_of(process: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    """What the process prints, and its log."""
    out, log = process.communicate()
    assert process.returncode == 0, log
    return json.loads(out), log


@pytest.mark.parametrize("kind", ["float16", "float32"])
def test_a_conversion_needs_the_memory_of_a_few_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    shape = NetworkShape(**LARGE)
    sizes = tensor_sizes(shape, Bands(shape))
    write_zip(tmp_path / "large.ckpt", {name: np.zeros(size, kind) for name, size in sizes.items()})
    path = write_description(tmp_path / "large.ckpt", description(LARGE, ["vocals"], "vocals"))
    monkeypatch.setattr(checked_weights, "checked", lambda *_: Verdict(99.0))
    tracemalloc.start()
    try:
        opened(path, precision="float32")
        assert tracemalloc.get_traced_memory()[1] < 40 * MIB
    finally:
        tracemalloc.stop()
    (packed,) = packed_files(tmp_path)
    assert packed.stat().st_size > 180 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_two_processes_share_the_pages_of_the_file(model: Path) -> None:
    network = opened(model)
    assert all(array.any() for array in network._weights.arrays.values())  # touches every page
    mapped = facts_of(process(model))[0]["packed"]
    assert mapped["Rss"] > 100_000
    assert mapped["Pss"] < 0.75 * mapped["Rss"]
    assert not mapped["Anonymous"] + mapped["Private_Dirty"] + mapped["Shared_Dirty"]


def test_two_processes_that_start_at_once_convert_once(model: Path) -> None:
    outcomes = [facts_of(each) for each in [process(model), process(model)]]
    assert "".join(log for _, log in outcomes).count("roformer.converted") == 1
    assert outcomes[0][0]["fingerprint"] == outcomes[1][0]["fingerprint"]


def test_a_conversion_that_is_killed_leaves_nothing_that_is_used_or_stays(tmp_path: Path, model: Path) -> None:
    program = (
        "import os, sys, tests.support.roformer_process as process; from pathlib import Path;"
        "from uvr.separation.roformer import packed_weights;"
        "packed_weights.sync = lambda path: os.kill(os.getpid(), 9);"
        "process.main(Path(sys.argv[1]))"
    )
    killed = subprocess.run([sys.executable, "-c", program, model], cwd=ROOT, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    (part,) = packed_files(tmp_path)
    assert part.suffix == ".part"
    opened(write_model(tmp_path, "other.ckpt", GEOMETRIES["mono"], ["vocals"], target="vocals"))
    assert [path.name.split(".")[1] for path in packed_files(tmp_path)] == ["other"]
    opened(model)
    assert [path.suffix for path in packed_files(tmp_path)] == [".packed", ".packed"]


def test_what_another_process_is_writing_stays(tmp_path: Path, model: Path) -> None:
    part = tmp_path / ".other.ckpt.0123456789abcdef.packed.17.part"
    part.write_bytes(b"half of it")
    (tmp_path / "other.ckpt").write_bytes(b"a model")
    with packed_weights.file_lock(tmp_path / "other.ckpt"):
        opened(model)
        assert part.exists()


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_a_file_that_is_replaced_by_one_of_the_same_size_and_time_is_noticed(tmp_path: Path, suffix: str) -> None:
    files, fingerprints = [], set()
    for seed in (0, 1):
        model = write_model(tmp_path, f"own{suffix}", GEOMETRIES["mono"], ["vocals"], target="vocals", seed=seed)
        for path in (model, model.with_suffix(".yaml")):
            os.utime(path, (1e9, 1e9))
        files.append((model.stat().st_size, model.stat().st_mtime_ns))
        fingerprints.add(opened(model).fingerprint)
    assert files[0] == files[1]
    assert len(fingerprints) == 2
    assert len(packed_files(tmp_path)) == 1


def test_a_file_that_is_replaced_while_it_is_converted_is_not_used(tmp_path: Path, model: Path) -> None:
    def arrays() -> Iterator[tuple[str, Floats]]:
        yield "a", np.zeros(10, np.float32)
        write_model(tmp_path, "own.ckpt", GEOMETRIES["mono"], ["vocals"], target="vocals", seed=1)

    with pytest.raises(TransientError, match=r"own\.ckpt was replaced while it was converted"):
        packed_weights.packed_weights(
            model, model.with_suffix(".yaml"), lambda: Conversion(MIB, arrays()), BESIDE_MODELS
        )
    assert not packed_files(tmp_path)


def test_a_file_that_becomes_shorter_while_it_is_converted_is_refused(model: Path) -> None:
    tensors = engine.read_checkpoint(model)
    model.write_bytes(model.read_bytes()[:1000])
    with pytest.raises(PermanentError, match=r"own\.ckpt became shorter"):
        tensors["layers.0.1.layers.0.1.net.4.weight"].read()


@pytest.mark.parametrize(("name", "changes"), [("guitar", {}), ("ep_317", {"depth": 2, "linear_transformer_depth": 4})])
@pytest.mark.parametrize("terms", TERMS)
def test_the_room_that_is_asked_for_is_hardly_more_than_the_file_takes(
    name: str, changes: dict[str, int], terms: int
) -> None:
    fields = {key: value for key, value in PUBLISHED[name]["model"].items() if key in NetworkShape.model_fields}
    shape = NetworkShape(**fields | changes)
    sizes = tensor_sizes(shape, Bands(shape))
    tensors = {key: Tensor(size, "float32", partial(np.zeros, size, np.float32)) for key, size in sizes.items()}
    weights = read_weights(tensors, shape, Bands(shape), name)
    taken = sum(array.nbytes for _, array in packed_arrays(weights, shape, terms))
    assert taken < max_packed_bytes(shape, terms) - 16 * MIB < 1.26 * taken


def test_a_file_that_would_be_much_larger_than_the_checkpoint_is_not_written(tmp_path: Path, model: Path) -> None:
    arrays = [(str(number), np.zeros(MIB, np.float32)) for number in range(20)]
    with pytest.raises(PermanentError, match=r"own\.ckpt has much narrower bands"):
        packed_weights.packed_weights(
            model, model.with_suffix(".yaml"), lambda: Conversion(16 * MIB, arrays), BESIDE_MODELS
        )
    assert not packed_files(tmp_path)
