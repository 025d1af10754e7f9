"""The OpenAPI document: what flask-openapi3 generates from schemas and docstrings, with its gaps corrected.

Nothing is written by hand, so the document cannot contradict the code. Corrected are:

- Schemas keep the keywords that flask-openapi3 drops, such as examples.
- Errors have the media type of problem documents and the headers that they really have.
- Operations are named after their functions.
- Operations without input have no 400.
- Requests and answers have examples, and the webhooks that the service sends are described.
"""

from __future__ import annotations

import json
import re
from collections import ChainMap
from collections.abc import Iterator
from copy import deepcopy
from typing import Any
from urllib.parse import urlencode

from flask_openapi3.models import OPENAPI3_REF_TEMPLATE
from flask_openapi3.openapi import OpenAPI
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode

from uvr.api import problems
from uvr.api.multipart import FORM_TYPE
from uvr.api.openapi_examples import example_of
from uvr.api.openapi_webhooks import webhooks
from uvr.api.problems import PROBLEM_TYPE
from uvr.api.schemas import admin, requests, responses, sessions
from uvr.api.schemas.sessions import SIGN_IN_FORM

ABOUT = """Splits songs into vocals and instrumental. Submit a song to get a task; poll it, or receive a webhook.

Errors are problem documents (RFC 9457), each with a sentence that says what to do."""

_PROBLEM_REF = "#/components/schemas/Problem"
_OTHER_SITE = {"description": "Forbidden", "content": {PROBLEM_TYPE: {"schema": {"$ref": _PROBLEM_REF}}}}
"""What any request that changes something gets if a page of another site sent it (`uvr.api.cross_site`)."""
_RETRY_AFTER = {"description": "seconds to wait", "required": True, "schema": {"type": "integer", "minimum": 1}}
_CHALLENGE = {"description": "how to authenticate", "required": True, "schema": {"type": "string"}}
_LOCATION = {"description": "path of the task", "required": True, "schema": {"type": "string"}}
_ERROR_HEADERS = {
    "401": {"WWW-Authenticate": _CHALLENGE},
    "429": {"Retry-After": _RETRY_AFTER},
    "503": {"Retry-After": _RETRY_AFTER},
}


def openapi_document(app: OpenAPI) -> dict[str, Any]:
    """The whole document, in OpenAPI 3.1. Call it once every endpoint is registered."""
    document: dict[str, Any] = deepcopy(app.api_doc)
    document["components"]["schemas"] |= _pydantic_schemas(document)
    endpoints: dict[tuple[str, str], str] = {}
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:[^<:]+:)?(\w+)>", r"{\1}", rule.rule)
        endpoints |= {(path, method.lower()): rule.endpoint for method in rule.methods or ()}
    for path, method, operation in operations(document):
        blueprint, _, function = endpoints[path, method].rpartition(".")
        operation["operationId"], operation["tags"] = function, [blueprint]
        if "description" in operation:
            operation["description"] = operation["description"].replace("<br/>", "\n").strip()
        for parameter in operation.get("parameters", []):
            schema = parameter["schema"]
            for part in (schema, *schema.get("anyOf", ())):
                if "minimum" in part and part["minimum"].is_integer():
                    part["minimum"] = int(part["minimum"])
        if method != "get":
            operation["responses"].setdefault("403", _OTHER_SITE)
        _correct_responses(operation)
        _add_examples(document, operation)
    document["webhooks"] = webhooks(document["components"]["schemas"])
    return document


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and description of each operation."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _example_body(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A request body made of the examples of the schema's fields."""
    while "$ref" in schema or "anyOf" in schema:
        reference = schema.get("$ref") or schema["anyOf"][0]["$ref"]
        schema = document["components"]["schemas"][reference.rpartition("/")[2]]
    return {name: field["examples"][0] for name, field in schema["properties"].items() if "examples" in field}


def curl_commands(path: str, method: str, operation: dict[str, Any]) -> list[str]:
    """Shell commands for an operation, one for each media type of its body, or a single one if it has no body.

    UVR (the base URL), CREDENTIALS and the parameters are shell variables.
    """
    words = ["curl"]
    media_types = operation["responses"].get("200", {}).get("content", {})
    if "text/event-stream" in media_types:
        words.append("-N")  # show events as they arrive
    elif any(
        media_type.startswith(("audio/", "application/zip", "application/octet-stream")) for media_type in media_types
    ):
        words.append("-OJ")  # save a file under its own name
    if operation.get("security"):
        words.append('-u "$CREDENTIALS"')
    if method != "get":
        words.append(f"-X {method.upper()}")
    words.append(f'"$UVR{_path_and_query(path, operation)}"')
    command = " ".join(words)
    bodies = []
    for media_type, media in operation.get("requestBody", {}).get("content", {}).items():
        body = media.get("example")
        if media_type == FORM_TYPE:
            bodies.append("-F audio=@song.mp3")
        elif media_type == SIGN_IN_FORM:
            bodies.append(f"-d '{urlencode(body)}'")
        else:
            bodies.append(f"-H 'Content-Type: {media_type}' \\\n  -d '{json.dumps(body)}'")
    return [f"{command} {body}" for body in bodies] or [command]


def _path_and_query(path: str, operation: dict[str, Any]) -> str:
    """The path and its required query parameters, with shell variables as their values."""
    required = [
        parameter["name"]
        for parameter in operation.get("parameters", [])
        if parameter["in"] == "query" and "default" not in parameter["schema"]
    ]
    query = "&".join(f"{name}=${name.upper()}" for name in required)
    path = re.sub(r"{(\w+)}", lambda match: f"${match[1].upper()}", path)
    return f"{path}?{query}" if query else path


def _pydantic_schemas(document: dict[str, Any]) -> dict[str, Any]:
    """The schema of every model that the document names, as pydantic generates it."""
    bodies = json.dumps([operation.get("requestBody") for _, _, operation in operations(document)])
    schemas = {}
    models = ChainMap(*map(vars, (problems, requests, responses, sessions, admin)))
    for name, model in models.items():
        if name in document["components"]["schemas"] and isinstance(model, type) and issubclass(model, BaseModel):
            mode: JsonSchemaMode = "validation" if f'/{name}"' in bodies else "serialization"
            schemas[name] = model.model_json_schema(ref_template=OPENAPI3_REF_TEMPLATE, mode=mode)
            schemas[name].pop("$defs", None)
    return schemas


def _add_examples(document: dict[str, Any], operation: dict[str, Any]) -> None:
    for media_type, media in operation.get("requestBody", {}).get("content", {}).items():
        if media_type != FORM_TYPE:  # a file has no example
            media["example"] = _example_body(document, media["schema"])
    components = document["components"]["schemas"]
    for status, response in operation["responses"].items():
        media = response.get("content", {}).get("application/json")
        if status.startswith("2") and media:
            media["example"] = example_of(media["schema"], components)


def _correct_responses(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    has_input = "parameters" in operation or "requestBody" in operation
    if not has_input:
        responses.pop("400", None)
    for status, response in responses.items():
        if status == "202":
            response["headers"] = {"Location": _LOCATION}
        if _PROBLEM_REF in json.dumps(response.get("content", {})):
            response["content"] = {PROBLEM_TYPE: {"schema": {"$ref": _PROBLEM_REF}}}
            if status in _ERROR_HEADERS:
                response["headers"] = _ERROR_HEADERS[status]
    operation["responses"] = dict(sorted(responses.items()))
