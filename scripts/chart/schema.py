"""The JSON schema of the chart's values: what config.py says about the settings, put into a file written by hand.

Helm checks values against it before it renders anything, so a misspelled setting, or a password where everyone can
read it, is refused with the name of the value.
"""

from __future__ import annotations

import json
from typing import Any

from config import Settings

SET_BY_CHART = frozenset(
    {
        *("api_host", "api_port", "api_published", "basic_auth_users_file", "presets_file"),
        *("redis_host", "redis_port", "redis_db", "node_id", "shutdown_grace_seconds"),
        *("temp_dir", "output_dir", "model_file_dir", "model_cache_dir"),
    }
)
"""Settings that the chart sets itself, from other values or because of the paths in its pods."""

FOR_CLIENTS = frozenset({"uvr_url", "uvr_username", "uvr_password", "uvr_token"})
"""Settings of the command line on other machines."""

_SECRET_BESIDES = frozenset({"aws_access_key_id", "webhook_headers"})
"""Settings that belong into a Secret although their type is not a secret one."""
_KEPT = ("type", "enum", "minimum", "exclusiveMinimum", "maximum", "minLength", "pattern")


def schema(text: str) -> str:
    """The schema `text` with the present definitions of `settings` and `secrets`."""
    whole: dict[str, Any] = json.loads(text)
    fields: dict[str, Any] = Settings.model_json_schema(by_alias=False)["properties"]
    secret = secret_settings()
    plain = fields.keys() - secret - SET_BY_CHART - FOR_CLIENTS
    whole["$defs"]["settings"] = {
        "description": "Made from config.py by `make chart`.",
        "type": "object",
        "additionalProperties": False,
        "properties": {name.upper(): _type_of(fields[name]) for name in fields if name in plain},
    }
    whole["$defs"]["secrets"] = {
        "description": "Made from config.py by `make chart`.",
        "type": "object",
        "additionalProperties": False,
        "properties": {name.upper(): {"$ref": "#/$defs/secretKey"} for name in fields if name in secret},
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def secret_settings() -> set[str]:
    """The settings that the chart takes from Secrets."""
    secret = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    return (secret | _SECRET_BESIDES) - FOR_CLIENTS


def _type_of(field: dict[str, Any]) -> dict[str, Any]:
    """The type of a setting as a value of the chart; lists and the like are texts, as in .env."""
    [scalar, *_] = field.get("anyOf", [field])
    if scalar.get("type") not in ("string", "integer", "number", "boolean"):
        return {"type": "string"}
    return {name: scalar[name] for name in _KEPT if name in scalar}
