"""GET /models: the models of the catalogue, and those that processors have loaded.

It does not say which model files are on disk: only the processors know, and the API may run on another machine.
"""

from __future__ import annotations

from flask import Response

from uvr.api.auth.basic import private_blueprint
from uvr.api.responses import json_response
from uvr.api.schemas.responses import ModelEntry, ModelList
from uvr.api.services import services
from uvr.models.catalogue import CATALOGUE, catalogue_name

models = private_blueprint("models")


@models.get("/models", responses={200: ModelList})
def list_models() -> Response:
    """List the models of the catalogue, and the models in use, which may include the operator's own."""
    processors = services().workers().get("processor", [])
    in_use = sorted({catalogue_name(processor["model"]) for processor in processors if "model" in processor})
    entries = [
        ModelEntry(
            name=model.name,
            title=model.title,
            architecture=model.architecture,
            engine=model.engine,
            primary_stem=model.parameters.primary_stem if model.parameters else None,
            license=model.license,
            size_bytes=model.total_bytes,
            downloadable=model.is_public,
            sdr_db=dict(model.sdr_db),
            in_use=model.name in in_use,
        )
        for model in CATALOGUE.values()
    ]
    return json_response(ModelList(models=entries, in_use=in_use))
