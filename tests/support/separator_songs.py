"""Songs separated by audio-separator's own Separator, as its users get them.

.venv-library/bin/python -m tests.support.separator_songs FOLDER MODEL STEM SONG…

FOLDER holds the model and its YAML file. Writes for each SONG.wav the stem as SONG.npy, of shape (channels, samples) at
44.1 kHz, and its chunks as SONG.json. The Separator's defaults stay as they are, but files are written in float.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import soundfile
import torch

sys.modules.setdefault("onnx2torch", ModuleType("onnx2torch"))  # converts MDX-Net files only, and needs torchvision

from audio_separator.separator import Separator  # noqa: E402


def main(folder: Path, model: str, stem: str, *songs: Path) -> None:
    separator = Separator(
        info_only=True,  # the only way to skip the check for ffmpeg
        log_level=logging.ERROR,
        model_file_dir=str(folder),
        output_dir=str(folder),
        use_soundfile=True,
    )
    separator.torch_device = separator.torch_device_cpu = torch.device("cpu")
    description = (folder / model).with_suffix(".yaml").name
    separator.download_model_files = lambda name: (name, "MDXC", name, str(folder / model), description)
    separator.load_model(model)
    loaded, starts = separator.model_instance, list[int]()
    loaded.input_subtype = "FLOAT"
    original: Any = loaded._roformer_chunk_starts

    def recording(*sizes: int) -> list[int]:
        starts[:] = original(*sizes)
        return starts

    loaded._roformer_chunk_starts = recording
    for song in songs:
        (file,) = [name for name in separator.separate(str(song)) if f"({stem})" in name.lower()]
        sound, rate = soundfile.read(folder / file, dtype="float32", always_2d=True)
        assert rate == 44_100
        np.save(song.with_suffix(".npy"), sound.T)
        song.with_suffix(".json").write_text(json.dumps(starts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], *map(Path, sys.argv[4:]))
