"""The OpenAPI document: what flask-openapi3 collects from the schemas and docstrings, put right where it is not so.

Nothing in it is written by hand, so it cannot tell another story than the code. What is mended: schemas keep the
keywords that flask-openapi3 does not know, examples among them; errors are problem documents of a media type of their
own, with the headers they really have; operations are named after their functions; what takes nothing cannot be asked
wrongly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from flask_openapi3.models import OPENAPI3_REF_TEMPLATE
from flask_openapi3.openapi import OpenAPI
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode

from uvr.api import problems
from uvr.api.multipart import FORM_TYPE
from uvr.api.problems import PROBLEM_TYPE
from uvr.api.schemas import requests, responses

ABOUT = """Splits songs into vocals and instrumental. Submit a song and get a task; poll it, or be told by a webhook.

Errors are problem documents (RFC 9457), each with a sentence that says what to do."""

_PROBLEM_REF = "#/components/schemas/Problem"
_RETRY_AFTER = {"description": "seconds to wait", "required": True, "schema": {"type": "integer", "minimum": 1}}
_CHALLENGE = {"description": "how to sign in", "required": True, "schema": {"type": "string"}}
_LOCATION = {"description": "the task", "required": True, "schema": {"type": "string"}}
_REFUSAL_HEADERS = {
    "401": {"WWW-Authenticate": _CHALLENGE},
    "429": {"Retry-After": _RETRY_AFTER},
    "503": {"Retry-After": _RETRY_AFTER},
}


def document(app: OpenAPI) -> dict[str, Any]:
    """The whole document, in OpenAPI 3.1; call it when every endpoint is registered."""
    made: dict[str, Any] = deepcopy(app.api_doc)
    names = _names(app)
    made["components"]["schemas"] |= _schemas(made)
    for path, method, operation in operations(made):
        operation["operationId"], operation["tags"] = names[path, method]
        for part in operation.get("parameters", []):
            _mend_numbers(part["schema"])
        if "description" in operation:
            operation["description"] = operation["description"].replace("<br/>", "\n").strip()
        _mend_responses(operation)
    return made


def operations(made: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and operation, of each."""
    for path, methods in made["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def example_body(made: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A request body of the examples that stand beside its fields."""
    while "$ref" in schema:
        schema = made["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return {name: field["examples"][0] for name, field in schema["properties"].items() if "examples" in field}


def commands(made: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> list[str]:
    """Shell commands for the operation, one for each kind of body; UVR, CREDENTIALS and parameters are variables."""
    content = operation.get("requestBody", {}).get("content", {})
    bodies = [_body(made, media_type, media["schema"]) for media_type, media in content.items()]
    command = _command(path, method, operation)
    return [f"{command} {body}" for body in bodies] or [command]


def _command(path: str, method: str, operation: dict[str, Any]) -> str:
    words = ["curl", *_how_to_take(operation)]
    if operation.get("security"):
        words.append('-u "$CREDENTIALS"')
    if method != "get":
        words.append(f"-X {method.upper()}")
    asked = [part["name"] for part in operation.get("parameters", []) if _is_needed(part)]
    query = "&".join(f"{name}={_variable(name)}" for name in asked)
    place = re.sub(r"{(\w+)}", lambda match: _variable(match[1]), path)
    words.append(f'"$UVR{place}{"?" if query else ""}{query}"')
    return " ".join(words)


def _how_to_take(operation: dict[str, Any]) -> list[str]:
    """What curl needs to know of the answer: a stream is shown as it comes, a file is kept under its own name."""
    content = operation["responses"].get("200", {}).get("content", {})
    if "text/event-stream" in content:
        return ["-N"]
    return ["-OJ"] if any(media_type.startswith("audio/") for media_type in content) else []


def _body(made: dict[str, Any], media_type: str, schema: dict[str, Any]) -> str:
    if media_type == FORM_TYPE:
        return "-F audio=@song.mp3"
    body = json.dumps(example_body(made, schema))
    return f"-H 'Content-Type: {media_type}' \\\n  -d '{body}'"


def _is_needed(parameter: dict[str, Any]) -> bool:
    return parameter["in"] == "query" and "default" not in parameter["schema"]


def _variable(name: str) -> str:
    return f"${name.upper()}"


def _names(app: OpenAPI) -> dict[tuple[str, str], tuple[str, list[str]]]:
    """The name of each operation and its group: the function that answers, and its blueprint."""
    found: dict[tuple[str, str], tuple[str, list[str]]] = {}
    for rule in app.url_map.iter_rules():
        group, _, name = rule.endpoint.rpartition(".")
        path = re.sub(r"<(?:[^<:]+:)?(\w+)>", r"{\1}", rule.rule)
        found |= {(path, method.lower()): (name, [group]) for method in rule.methods or ()}
    return found


def _schemas(made: dict[str, Any]) -> dict[str, Any]:
    """The schemas of the models that stand in the document, as pydantic writes them."""
    asked = json.dumps([operation.get("requestBody") for _, _, operation in operations(made)])
    written = {}
    for name, model in {**vars(problems), **vars(requests), **vars(responses)}.items():
        if name in made["components"]["schemas"] and isinstance(model, type) and issubclass(model, BaseModel):
            mode: JsonSchemaMode = "validation" if f'/{name}"' in asked else "serialization"
            written[name] = model.model_json_schema(ref_template=OPENAPI3_REF_TEMPLATE, mode=mode)
            written[name].pop("$defs", None)
    return written


def _mend_numbers(schema: dict[str, Any]) -> None:
    for part in (schema, *schema.get("anyOf", ())):
        part |= {name: int(value) for name, value in part.items() if name == "minimum" and value.is_integer()}


def _mend_responses(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    takes_nothing = "parameters" not in operation and "requestBody" not in operation
    if takes_nothing:
        responses.pop("400", None)
    for status, response in responses.items():
        if status == "202":
            response["headers"] = {"Location": _LOCATION}
        if _PROBLEM_REF in json.dumps(response.get("content", {})):
            response["content"] = {PROBLEM_TYPE: {"schema": {"$ref": _PROBLEM_REF}}}
            if status in _REFUSAL_HEADERS:
                response["headers"] = _REFUSAL_HEADERS[status]
    operation["responses"] = dict(sorted(responses.items()))
