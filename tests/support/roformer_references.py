"""The masks that audio-separator's own classes compute, of networks with random weights.

.venv-library/bin/python -m tests.support.roformer_references FOLDER [NAME…]

Writes for each of `roformers.GEOMETRIES` NAME.ckpt, and NAME.npz with the spectrum of a chunk and its masks; and
sizes.json with the size of every tensor of each published network, as audio-separator's loader makes it from the YAML
file. With names of published networks it writes only their NAME.npz, with a single block and `repeated_tensors`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from audio_separator.separator.roformer.roformer_loader import RoformerLoader
from audio_separator.separator.uvr_lib_v5.roformer.bs_roformer import BSRoformer
from audio_separator.separator.uvr_lib_v5.roformer.mel_band_roformer import MelBandRoformer

from tests.support.published_roformers import PUBLISHED, one_block, published_description
from tests.support.roformers import GEOMETRIES, repeated_tensors

FRAMES = 97


def main(folder: Path, *published: str) -> None:
    if published:
        torch.nn.Linear.reset_parameters = lambda _: None  # takes the time, and the weights are replaced
        for name in published:
            geometry = one_block(name)
            network = (BSRoformer if "freqs_per_bands" in geometry else MelBandRoformer)(**geometry).eval()
            sizes = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
            network.load_state_dict({key: torch.from_numpy(each) for key, each in repeated_tensors(sizes)})
            np.savez(folder / f"{name}.npz", **_masks(network, geometry))
        return
    for seed, (name, geometry) in enumerate(GEOMETRIES.items()):
        torch.manual_seed(seed)
        network = _network(geometry)
        torch.save(network.state_dict(), folder / f"{name}.ckpt")
        np.savez(folder / f"{name}.npz", **_masks(network, geometry))
    torch.nn.Linear.reset_parameters = lambda _: None
    (folder / "sizes.json").write_text(json.dumps({name: _sizes(name) for name in PUBLISHED}))


def _sizes(name: str) -> dict[str, tuple[int, ...]]:
    network = RoformerLoader().load_model(f"{name}.ckpt", published_description(name)).model
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}


def _network(geometry: dict[str, Any]) -> Any:
    network = (BSRoformer if "freqs_per_bands" in geometry else MelBandRoformer)(**geometry).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1 and parameter.requires_grad:  # norms and biases are all the same at first
                parameter.add_(0.2 * torch.randn_like(parameter))
    return network


def _masks(network: Any, geometry: dict[str, Any]) -> dict[str, np.ndarray]:
    """What the network makes complex: first its spectrum, then its masks."""
    seen: list[np.ndarray] = []
    original = torch.view_as_complex

    def seeing(numbers: torch.Tensor) -> torch.Tensor:
        made = original(numbers)
        seen.append(made.detach().numpy().copy())
        return made

    channels, hop = 1 + geometry["stereo"], geometry.get("stft_hop_length", 512)
    torch.view_as_complex = seeing
    try:
        with torch.inference_mode():
            audio = torch.randn(1, channels, hop * (FRAMES - 1)) * 0.1
            estimate = network(audio)
    finally:
        torch.view_as_complex = original
    spectrum, mask = seen[0].reshape(-1, FRAMES), seen[1][0]
    if hasattr(network, "freq_indices"):
        mask = _averaged(mask, network.freq_indices.numpy(), len(spectrum))
    return {
        "audio": audio[0].numpy(),
        "estimate": estimate[0].numpy().reshape(geometry["num_stems"], channels, -1),
        "spectrum": spectrum.reshape(-1, channels, FRAMES).swapaxes(0, 1),
        "masks": mask.reshape(len(mask), -1, channels, FRAMES).swapaxes(1, 2),
    }


def _averaged(masks: np.ndarray, indices: np.ndarray, rows: int) -> np.ndarray:
    """The mean mask of each bin over the bands that it belongs to."""
    total = np.zeros((len(masks), rows, masks.shape[-1]), np.complex64)
    for stem, mask in enumerate(masks):
        np.add.at(total[stem], indices, mask)
    return total / np.bincount(indices, minlength=rows).astype(np.float32)[:, None]


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
