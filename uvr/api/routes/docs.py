"""GET /openapi.json and GET /docs: the API's description for programs and for people.

The page is generated from the document alone. It has no scripts and loads nothing from other hosts, so it works on
machines without internet access. Neither needs credentials: both contain nothing that the public source code does not.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, render_template
from flask_openapi3.openapi import OpenAPI
from markupsafe import Markup, escape

from uvr.api.openapi import curl_commands, openapi_document, operations
from uvr.api.services import services_of

_TEMPLATES = Path(__file__).parent.parent / "templates"


def register_docs(app: OpenAPI) -> None:
    """Add these addresses to `app`. Call it once every other endpoint is registered."""
    docs = Blueprint("docs", __name__, template_folder=_TEMPLATES)
    docs.add_app_template_filter(_prose, "prose")
    docs.add_app_template_filter(partial(json.dumps, indent=2, ensure_ascii=False), "as_json")
    style = (_TEMPLATES / "docs.css").read_text(encoding="utf-8")
    # Generated at the first request and kept, because anybody may request them, as often as they like.
    document = cache(lambda: openapi_document(app))
    text = cache(lambda: json.dumps(document(), ensure_ascii=False))
    page = cache(lambda: _render(document(), style, services_of(app).settings.base_url))
    # Allows this one style sheet, and nothing else from anywhere.
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

    @docs.get("/openapi.json")
    def show_document() -> Response:
        return Response(text(), mimetype="application/json")

    @docs.get("/docs")
    def show_page() -> Response:
        return Response(page(), headers={"Content-Security-Policy": policy})

    app.register_blueprint(docs)


def _render(document: dict[str, Any], style: str, url: str) -> str:
    """The page, with the operations grouped by their blueprint and curl commands for each."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, method, operation in operations(document):
        commands = curl_commands(document, path, method, operation)
        entry = {**operation, "path": path, "method": method.upper(), "commands": commands}
        groups.setdefault(operation["tags"][0], []).append(entry)
    problem = {"$ref": "#/components/schemas/Problem"}
    return render_template("docs.html", document=document, groups=groups, style=style, url=url, problem=problem)


def _prose(text: str) -> Markup:
    """Text of the document as HTML, with code between backticks."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704  # escaped
