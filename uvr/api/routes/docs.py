"""GET /openapi.json and GET /docs: the API's description for programs and for people.

The page is generated from the document alone. It loads nothing from other hosts, so it works on machines without
internet access. Neither needs credentials: both contain nothing that the public source code does not. People who are
signed in on the page of the service can send requests from here: the only script, web/docs/try_it.js, adds a form to
each operation ([decision 38](docs/decisions/0038-try-it.md)). With CONSOLE=off there is no script.
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

from config import Settings
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
    settings = services_of(app).settings
    page = cache(lambda: _render(document(), style, settings))
    headers = _headers(style, has_scripts=settings.console)

    @docs.get("/openapi.json")
    def show_document() -> Response:
        return Response(text(), mimetype="application/json")

    @docs.get("/docs")
    def show_page() -> Response:
        return Response(page(), headers=headers)

    app.register_blueprint(docs)


def _headers(style: str, *, has_scripts: bool) -> dict[str, str]:
    """The policy allows this one style sheet, with `has_scripts` our own scripts, and nothing else from anywhere."""
    digest = b64encode(sha256(style.encode()).digest()).decode()
    scripts = "script-src 'self'; connect-src 'self'; " if has_scripts else ""
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; {scripts}base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    # With no-referrer, as elsewhere, some browsers would send the Origin "null" with what the forms send.
    return {"Content-Security-Policy": policy, "Referrer-Policy": "same-origin"}


def _render(document: dict[str, Any], style: str, settings: Settings) -> str:
    """The page, with the operations grouped by their blueprint and curl commands for each."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, method, operation in operations(document):
        commands = curl_commands(path, method, operation)
        entry = {**operation, "path": path, "method": method.upper(), "commands": commands}
        groups.setdefault(operation["tags"][0], []).append(entry)
    problem = {"$ref": "#/components/schemas/Problem"}
    return render_template(
        "docs.html",
        document=document,
        groups=groups,
        style=style,
        url=settings.base_url,
        problem=problem,
        has_console=settings.console,
    )


def _prose(text: str) -> Markup:
    """Text of the document as HTML, with code between backticks."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704  # escaped
