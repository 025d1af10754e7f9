"""Small models with random weights, each made by audio-separator's own class of its architecture, and their stems.

.venv-library/bin/python -m tests.support.random_checkpoints FOLDER [SONG…]

Their files have the form of real ones: a checkpoint with its YAML, or a bag of Demucs models. Writes them to FOLDER. If
there are songs, separates them with each model, and with two of them together, and prints the outcomes as JSON. All of
it in one process: most of the time goes into the import of torch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import audio_separator.separator.uvr_lib_v5
import torch
import yaml
from audio_separator.separator.uvr_lib_v5.roformer.bs_roformer import BSRoformer
from audio_separator.separator.uvr_lib_v5.roformer.mel_band_roformer import MelBandRoformer
from audio_separator.separator.uvr_lib_v5.tfc_tdf_v3 import TFC_TDF_net
from ml_collections import ConfigDict

from uvr.audio.output_format import OutputFormat
from uvr.separation.audio_separator.engine import AudioSeparatorEngine
from uvr.separation.audio_separator.model import SeveralFiles
from uvr.separation.engine import Separation
from uvr.separation.jobs import Encode, Sealed, Separate
from uvr.separation.mixture import decode_mixture
from uvr.separation.progress import SeparationObserver, ignore_progress

_AUDIO = {
    "chunk_size": 44_032,
    "dim_f": 1024,
    "dim_t": 87,
    "hop_length": 512,
    "n_fft": 2048,
    "num_channels": 2,
    "sample_rate": 44_100,
}
_INFERENCE = {"batch_size": 1, "dim_t": 87, "num_overlap": 2}
_TRANSFORMER = {
    "dim": 16,
    "depth": 1,
    "stereo": True,
    "time_transformer_depth": 1,
    "freq_transformer_depth": 1,
    "dim_head": 8,
    "heads": 2,
    "attn_dropout": 0.0,
    "ff_dropout": 0.0,
    "flash_attn": False,
    "dim_freqs_in": 1025,
    "stft_n_fft": 2048,
    "stft_hop_length": 512,
    "stft_win_length": 2048,
    "stft_normalized": False,
    "mask_estimator_depth": 2,
}


MODELS = (
    "own_bs_roformer.ckpt",
    "own_4_stems.ckpt",
    "own_mel_band_roformer.ckpt",
    "own_target_other.ckpt",
    "own_mdx23c.ckpt",
    "own_odd_names.ckpt",
    "own_demucs.yaml",
    "own_demucs_6.yaml",
)
ENSEMBLE = ("own_mel_band_roformer.ckpt", "own_4_stems.ckpt")


def main(folder: Path, *songs: Path) -> None:
    write_models(folder)
    if not songs:
        return
    engines = {model: AudioSeparatorEngine(SeveralFiles(model, folder), threads=1) for model in MODELS}
    outcomes = {
        "+".join(models): [
            outcome([engines[model] for model in models], song, folder / f"{'+'.join(models)}-{song.stem}")
            for song in songs
        ]
        for models in [*((model,) for model in MODELS), ENSEMBLE]
    }
    json.dump(outcomes, sys.stdout)


def write_models(folder: Path) -> None:
    torch.manual_seed(0)
    write_roformer(folder, "own_bs_roformer", BSRoformer, ["vocals", "other"], "vocals", freqs_per_bands=bands())
    write_roformer(
        folder, "own_4_stems", BSRoformer, ["drums", "bass", "other", "vocals"], None, freqs_per_bands=bands()
    )
    write_roformer(
        folder, "own_mel_band_roformer", MelBandRoformer, ["vocals", "other"], None, num_bands=8, sample_rate=44_100
    )
    write_roformer(folder, "own_target_other", BSRoformer, ["vocals", "other"], "other", freqs_per_bands=bands())
    write_mdx23c(folder, "own_mdx23c", ["Vocals", "Instrumental"])
    write_mdx23c(folder, "own_odd_names", ["Lead-Vocals", "lead vocals", "../Drums", "\u4e3b\u5531"])
    write_demucs(folder, "own_demucs", ["drums", "bass", "other", "vocals"])
    write_demucs(folder, "own_demucs_6", ["drums", "bass", "other", "vocals", "guitar", "piano"])


def bands() -> tuple[int, ...]:
    """Bands that cover the 1025 bins of the spectrogram."""
    return (256, 256, 256, 257)


def write_roformer(
    folder: Path, name: str, network: Any, stems: list[str], target: str | None, **parameters: Any
) -> None:
    model = {**_TRANSFORMER, **parameters, "num_stems": 1 if target else len(stems)}
    write_checkpoint(folder, name, network(**model), model, stems, target)


def write_mdx23c(folder: Path, name: str, stems: list[str]) -> None:
    model = {
        "act": "gelu",
        "bottleneck_factor": 4,
        "growth": 4,
        "norm": "InstanceNorm",
        "num_blocks_per_scale": 1,
        "num_channels": 8,
        "num_scales": 2,
        "num_subbands": 4,
        "scale": [2, 2],
    }
    config = {"audio": _AUDIO, "model": model, "training": {"instruments": stems, "target_instrument": None}}
    write_checkpoint(folder, name, TFC_TDF_net(ConfigDict(config), torch.device("cpu")), model, stems, None)


def write_checkpoint(
    folder: Path, name: str, network: Any, model: dict[str, Any], stems: list[str], target: str | None
) -> None:
    torch.save(network.state_dict(), folder / f"{name}.ckpt")
    training = {"instruments": stems, "target_instrument": target}
    config = {"audio": _AUDIO, "model": model, "training": training, "inference": _INFERENCE}
    (folder / f"{name}.yaml").write_text(yaml.dump(config))


def write_demucs(folder: Path, name: str, stems: list[str]) -> None:
    # audio-separator puts this folder on the path when it loads Demucs, so the class has this name in its files.
    sys.path.insert(0, str(Path(audio_separator.separator.uvr_lib_v5.__file__).parent))
    from demucs.htdemucs import HTDemucs

    parameters = {"sources": stems, "channels": 8, "t_layers": 1, "t_heads": 2, "bottom_channels": 0, "segment": 5}
    package = {"klass": HTDemucs, "args": (), "kwargs": parameters, "state": HTDemucs(**parameters).state_dict()}
    signature = name.replace("_", "")
    torch.save(package, folder / f"{signature}.th")
    (folder / f"{name}.yaml").write_text(yaml.dump({"models": [signature]}))


def outcome(engines: Sequence[AudioSeparatorEngine], song: Path, folder: Path) -> dict[str, Any]:
    """What the engines make of the song: the files of the stems, those of the last one alone, and facts."""
    observer = SeparationObserver(ignore_progress)
    folder.mkdir()
    mixture, estimates = Sealed.of(decode_mixture(song, folder, max_seconds=60, observer=observer)), []
    for number, engine in enumerate(engines):
        work = folder / f"network-{number}"
        work.mkdir()
        estimates.append(Separate(mixture, work)(engine, observer))

    def encoded(name: str, *wanted_stems: str) -> Separation:
        work, stems = folder / f"work-{name}", folder / f"stems-{name}"
        work.mkdir()
        stems.mkdir()
        return Encode(mixture, tuple(estimates), work, stems, OutputFormat.WAV, wanted_stems)(None, observer)

    def files(separation: Separation) -> dict[str, str]:
        return {name: str(path) for name, path in separation.stems.items()}

    everything = encoded("all")
    one = encoded("one", list(everything.stems)[-1])
    return {"stems": files(everything), "wanted": files(one), **everything.facts()}


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
