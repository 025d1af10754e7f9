"""Reading an untrusted checkpoint (a pickle): only float32 arrays are accepted, and no code in it runs."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uvr.errors import PermanentError
from uvr.models.spleeter_network import read_arrays, read_checkpoint, weight_shapes


def pickled(content: Any) -> io.BytesIO:
    """A pickle as numpy 1 wrote it, like the published checkpoints: with the old name of `_reconstruct`."""
    return io.BytesIO(pickle.dumps(content, protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))


class Runs:
    """When the standard unpickler reads a pickle of this, it calls `function(*arguments)`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call


def test_arrays_come_back_unchanged() -> None:
    weights = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float32([0.5])}
    read = read_arrays(pickled(weights))
    assert set(read) == {"a", "b"}
    assert all(np.array_equal(read[name], weights[name]) for name in weights)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [(os.system, ("true",)), (eval, ("1",)), (getattr, ("", "join")), (np.load, ("x",)), (bytearray, (1,))],
    ids=["os.system", "eval", "getattr", "numpy.load", "bytearray"],
)
def test_any_other_global_is_refused(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    with pytest.raises(PermanentError, match="which is not part of an array"):
        read_arrays(pickled({"a": Runs(function, *arguments)}))


def test_no_code_runs(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    with pytest.raises(PermanentError):
        read_arrays(pickled(Runs(os.mkdir, str(witness))))
    assert not witness.exists()


@pytest.mark.parametrize(
    "content",
    [{"a": np.zeros(2)}, {"a": np.array(["x"], dtype=object)}, {"a": 1.0}, [np.zeros(2, np.float32)], None],
    ids=["float64", "objects", "number", "list", "none"],
)
def test_anything_but_float32_arrays_by_name_is_refused(content: Any) -> None:
    with pytest.raises(PermanentError, match="something other than float32 arrays"):
        read_arrays(pickled(content))


@pytest.mark.parametrize("length", [0, 1, 40, 200])
def test_broken_pickle_is_refused(length: int) -> None:
    whole = pickled({"a": np.zeros(100, np.float32)}).getvalue()
    with pytest.raises(PermanentError, match="cannot be read"):
        read_arrays(io.BytesIO(whole[:length]))


def test_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.ckpt"
    weights = {name: np.zeros(shape, np.float32) for name, shape in weight_shapes().items()}
    weights["up7.0.bias"] = np.zeros(3, np.float32)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other/data.pkl", pickled(weights).getvalue())
    with pytest.raises(PermanentError, match="does not contain its 74 weights"):
        read_checkpoint(path)


@pytest.mark.parametrize("entry", [None, "other/version"], ids=["no zip", "no pickle"])
def test_file_that_is_not_a_checkpoint_is_refused(tmp_path: Path, entry: str | None) -> None:
    path = tmp_path / "no.ckpt"
    path.write_bytes(b"not a zip")
    if entry:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(entry, "3")
    with pytest.raises(PermanentError, match="not a checkpoint file"):
        read_checkpoint(path)
