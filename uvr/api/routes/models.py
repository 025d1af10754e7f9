"""GET /models: the catalogue, the models and presets that are offered, and what the processors have announced.

Only the processors see the model files, and the API may run on another machine. They announce what they can run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from flask import Response

from uvr.api.auth.basic import private_blueprint
from uvr.api.responses import json_response
from uvr.api.schemas.responses import ModelEntry, ModelList, PresetEntry
from uvr.api.services import services
from uvr.liveness.workers import loaded_models
from uvr.models.announcements import RunnableModel
from uvr.models.catalogue import CATALOGUE, Model, catalogue_name
from uvr.models.offers import Offers
from uvr.tasks.model import one_or_several

models = private_blueprint("models")


@models.get("/models", responses={200: ModelList})
def list_models() -> Response:
    """List the models of the catalogue and those of the operator, and the presets."""
    offers, processors = services().model_offers.now(), services().workers().get("processor", [])
    in_use = _in_use(processors, offers)
    names = dict.fromkeys([*CATALOGUE, *offers.runnable, *offers.models])
    speeds = services().broker.durations.speeds()
    entries = [_entry(CATALOGUE.get(name) or _own(name), offers, in_use, speeds.get(name)) for name in names]
    presets = [
        PresetEntry(
            name=preset.name,
            purpose=preset.purpose,
            offered=preset.name in offers.presets_now,
            model=one_or_several(offers.presets_now.get(preset.name, ())),
            options=[list(option) for option in preset.options],
        )
        for preset in offers.presets.values()
    ]
    default = offers.models[0]
    return json_response(ModelList(models=entries, in_use=in_use, default=default, presets=presets))


def _in_use(processors: Sequence[Mapping[str, str]], offers: Offers) -> list[str]:
    """The default models of the processors, as MODEL_NAME names them, and the others that they have loaded."""
    defaults = {catalogue_name(processor["model"]) for processor in processors if "model" in processor}
    loaded = {name for processor in processors for name in loaded_models(processor)}
    return sorted(defaults | (loaded - set(map(offers.name_of, defaults))))


def _own(name: str) -> Model:
    """A model that is not in the catalogue, because it is the operator's own."""
    return Model(name=name, file=name, title=name, architecture="", license="")


def _engine(name: str) -> Literal["mdx", "roformer", "audio-separator"]:
    match name:
        case "mdx" | "roformer":
            return name
    return "audio-separator"


def _entry(model: Model, offers: Offers, in_use: list[str], speed: float | None) -> ModelEntry:
    announced = offers.runnable.get(model.name) or RunnableModel(model.name, is_here=False)
    return ModelEntry(
        name=model.name,
        title=model.title,
        architecture=model.architecture,
        engine=_engine(announced.engine or model.engine),
        primary_stem=model.parameters.primary_stem if model.parameters else None,
        license=model.license,
        size_bytes=model.total_bytes,
        downloadable=model.is_public,
        sdr_db=dict(model.sdr_db),
        in_use=model.name in map(offers.name_of, in_use),
        stems=list(announced.stems or model.stems),
        commercial_use=model.commercial_use,
        quality_source=model.quality_source or None,
        quality_songs=model.quality_songs,
        is_here=announced.is_here,
        offered=model.name in offers.models,
        device=announced.device or None,
        memory_bytes=announced.memory_bytes,
        load_s=announced.load_s,
        seconds_per_audio_second=speed,
    )
