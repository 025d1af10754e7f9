"""The stems that a model gives, known without loading it.

They follow from what lies beside the network: the parameters that belong to the hash of its file, the YAML file that
describes a checkpoint, the sources that a Demucs network lists. While a file is missing, the catalogue answers. Nothing
here runs code from a file: YAML is read without Python objects, and a pickle is only listed, not loaded.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from uvr.errors import PermanentError
from uvr.models import store
from uvr.models.audio_separator import vr_parameters_of
from uvr.models.catalogue import known_model
from uvr.models.descriptions import read_description
from uvr.models.roformers import roformer_description
from uvr.models.stem_names import checkpoint_stems, client_stem_names, left_over, pair_names, stem_pair

_DEMUCS_STEMS = {
    2: ("vocals", "instrumental"),
    4: ("vocals", "drums", "bass", "other", "instrumental"),
    6: ("vocals", "drums", "bass", "guitar", "piano", "other", "instrumental"),
}
"""audio-separator names the sources of a Demucs network by their number."""
_NOT_TOLD = (PermanentError, OSError, ValueError, LookupError, TypeError)
"""What reading a file raises that does not say what is expected of it."""


def stems_of_model(name: str, folder: Path) -> tuple[str, ...]:
    """The names of the stems of the model `name`, the estimated one first; () if they are not known.

    `name` is a model of the catalogue in any spelling, a file in `folder`, or the path of a file.
    """
    with suppress(*_NOT_TOLD):
        name, folder = store.split_model_path(name, folder)
    model = known_model(name)
    path = _file_by_suffix(name, folder) or folder / (model.file if model else name)
    description = path.with_suffix(".yaml")
    if model and model.file.endswith(".ckpt"):
        description = folder / model.further_files[0].name
    with suppress(*_NOT_TOLD):
        if stems := _stems_of_files(path, description):
            return stems
    return model.stems if model else ()


def _file_by_suffix(name: str, folder: Path) -> Path | None:
    """The operator's own MDX-Net file, whose name may lack `.onnx`."""
    if name.lower().endswith((".pth", ".ckpt", ".safetensors", ".yaml")):
        return None
    with suppress(PermanentError):
        path = store.model_file_path(name, folder)
        return path if path.is_file() else None
    return None


def _stems_of_files(path: Path, description: Path) -> tuple[str, ...]:
    match path.suffix.lower():
        case ".onnx":
            return stem_pair(store.parameters_of(path).primary_stem)
        case ".pth" if roformer_description(path.name, path.parent):
            return _described_stems(description)
        case ".pth":
            primary = str(vr_parameters_of(path)["primary_stem"])
            return with_rest([primary, _partner(primary)])
        case ".ckpt" | ".safetensors":
            return _described_stems(description)
        case ".yaml":
            return _DEMUCS_STEMS.get(_number_of_sources(path), ())
    return ()


def with_rest(names: Iterable[str]) -> tuple[str, ...]:
    """The stems of a network that estimates stems with these names: their names here, and what is left of the song."""
    stems = tuple(client_stem_names(names).values())
    rest = left_over(stems)
    return (*stems, rest[0]) if rest else stems


def _partner(primary: str) -> str:
    """audio-separator's name of the rest: "Vocals" -> "Instrumental", "No Echo" -> "Echo", "Noise" -> "No Noise"."""
    pair = {"Vocals": "Instrumental", "Instrumental": "Vocals"}
    return pair.get(primary) or (primary.removeprefix("No ") if primary.startswith("No ") else f"No {primary}")


def _described_stems(description: Path) -> tuple[str, ...]:
    """The stems in the YAML file of a checkpoint, those that the network estimates first."""
    training = dict(read_description(description)["training"])
    instruments = [str(instrument) for instrument in training["instruments"]]
    target = training.get("target_instrument")
    stems = checkpoint_stems(instruments, str(target) if target else None)
    return pair_names(stems.estimated[0], stems.rest) if stems.rest else with_rest(stems.estimated)


def _number_of_sources(bag: Path) -> int:
    """How many sources the networks of a Demucs bag have; 0 if that is not known."""
    networks = read_description(bag)["models"]
    signature = re.sub(r"[^\w.-]", "", str(networks[0]))
    found = [*bag.parent.glob(f"{signature}.th"), *bag.parent.glob(f"{signature}-*.th")]
    if not found or not zipfile.is_zipfile(found[0]):
        return 0
    with zipfile.ZipFile(found[0]) as archive:
        (pickled,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        return len(list(_listed_after("sources", archive.read(pickled))))


def _listed_after(key: str, pickled: bytes) -> Iterator[str]:
    """The strings of the list that follows `key` in a pickle, which is not loaded."""
    within = False
    for operation, argument, _ in pickletools.genops(pickled):
        if within and isinstance(argument, str):
            yield argument
        elif within and operation.name in ("APPEND", "APPENDS", "TUPLE", "SETITEM", "SETITEMS"):
            return
        within = within or argument == key
