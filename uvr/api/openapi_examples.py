"""Examples of answers, made from their schemas, so that no field can be forgotten.

A field has the example in its schema, or else the one in `_VALUES` by its name, or else one of its type.
"""

from __future__ import annotations

from typing import Any

_VALUES: dict[str, Any] = {
    "attempt": 1,
    "audio": "https://example.com/song.mp3",
    "buried_at": "2026-11-22T16:46:01.733Z",
    "created_at": "2026-11-22T16:46:01.361Z",
    "detail": "priority must be less than or equal to 5.",
    "duration_ms": 31,
    "error": "",
    "error_message": None,
    "eta_s": None,
    "facts": {
        "model": "UVR-MDX-NET-Inst_HQ_4",
        "provider": "cpu",
        "backend": "native",
        "precision": "float32",
        "audio_s": 20.0,
        "separation_s": 7.118,
    },
    "finished_at": "2026-11-22T16:46:09.118Z",
    "hook_url": "https://example.com/hook",
    "in_use": ["UVR-MDX-NET-Inst_HQ_4"],
    "instrumental": "https://stems.example.com/files/10ca2964-…_instrumental.wav?expires=1795970761&signature=41…",
    "lost_with": None,
    "model": "UVR-MDX-NET-Inst_HQ_4",
    "name": "UVR-MDX-NET-Inst_HQ_4",
    "next_cursor": "1795365961361:10ca2964-a404-4518-bdb7-3adc6b7431ac",
    "node": None,
    "outcome": "delivered",
    "owner": "admin",
    "position": None,
    "priority": 5,
    "progress": 1.0,
    "request_id": "2f1c6e0a9d554f3e8d5c0c6b7a1e4d20",
    "sdr_db": {"vocals": 8.832, "instrumental": 15.512},
    "started_at": "2026-11-22T16:46:01.402Z",
    "state": "delivered",
    "status": "success",
    "status_code": 200,
    "stems": {"vocals": "https://stems.example.com/files/10ca2964-…_vocals.wav?expires=1795970761&signature=8f…"},
    "stems_deleted_at": None,
    "task_uuid": "10ca2964-a404-4518-bdb7-3adc6b7431ac",
    "vocals": "https://stems.example.com/files/10ca2964-…_vocals.wav?expires=1795970761&signature=8f…",
    "webhook_id": "10ca2964-a404-4518-bdb7-3adc6b7431ac.success",
}
_OF_TYPE = {"string": "…", "integer": 1, "number": 0.5, "boolean": True, "null": None}


def example_of(schema: dict[str, Any], components: dict[str, Any], name: str = "") -> Any:
    """A value of this schema, whose references lead to `components`. `name` is the field that it belongs to."""
    if "$ref" in schema:
        return example_of(components[schema["$ref"].rpartition("/")[2]], components, name)
    if "examples" in schema:
        return schema["examples"][0]
    if "const" in schema:
        return schema["const"]
    if name in _VALUES and fits(_VALUES[name], schema, components):
        return _VALUES[name]
    return _of_type(schema, components, name)


def fits(value: Any, schema: dict[str, Any], components: dict[str, Any]) -> bool:
    """Whether `value` is of the type of `schema`, and one of its values if these are listed."""
    if "$ref" in schema:
        return fits(value, components[schema["$ref"].rpartition("/")[2]], components)
    if "anyOf" in schema:
        return any(fits(value, part, components) for part in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    types = {"string": str, "integer": int, "number": float, "array": list, "object": dict, "null": type(None)}
    return "properties" not in schema and type(value) is types.get(schema.get("type", ""))


def _of_type(schema: dict[str, Any], components: dict[str, Any], name: str) -> Any:
    if "properties" in schema:
        return {field: example_of(part, components, field) for field, part in schema["properties"].items()}
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0], components, name)
    if schema.get("type") == "array":
        return [example_of(schema["items"], components, name)]
    if schema.get("type") == "object":
        return {}
    return _OF_TYPE.get(schema.get("type", ""))
