"""GET /models: the models that are known here, and the ones that processors have loaded.

Whether a model's file is on a disk only the processor there knows; the API may stand on another machine.
"""

from __future__ import annotations

from flask import Response

from uvr.api.auth.basic import private_blueprint
from uvr.api.responses import answer
from uvr.api.schemas.responses import ModelEntry, ModelList
from uvr.api.services import services
from uvr.errors import PermanentError
from uvr.liveness.workers import live_workers
from uvr.models.audio_separator import VR_MODELS, find_vr, several_files_name
from uvr.models.catalogue import CATALOGUE, Model, find

models = private_blueprint("models")


@models.get("/models", responses={200: ModelList})
def list_models() -> Response:
    """List the models of the catalogue, and those in use, one of which may be the operator's own."""
    settings = services().settings
    processors = live_workers(services().clients.commands, settings.redis_task_queue).get("processor", [])
    in_use = sorted({_catalogued(processor["model"]) for processor in processors if "model" in processor})
    entries = [_entry(model, in_use) for model in (*CATALOGUE.values(), *VR_MODELS.values())]
    return answer(ModelList(models=entries, in_use=in_use))


def _catalogued(name: str) -> str:
    """The name in the catalogue of what an operator may spell otherwise; other names as they are."""
    if model := find_vr(name):
        return model.name
    try:
        return find(name).name
    except PermanentError:
        return several_files_name(name) or name


def _entry(model: Model, in_use: list[str]) -> ModelEntry:
    return ModelEntry(
        name=model.name,
        title=model.title,
        architecture=model.architecture,
        engine="audio-separator" if model.name in VR_MODELS else "mdx",
        primary_stem=model.parameters.primary_stem if model.parameters else None,
        license=model.license,
        size_bytes=model.size_bytes,
        downloadable=bool(model.source),
        sdr_db=dict(model.sdr_db),
        in_use=model.name in in_use,
    )
