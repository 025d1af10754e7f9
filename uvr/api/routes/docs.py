"""GET /openapi.json and GET /docs: the API described, for programs and for people; GET / leads there.

The page is made of the document and nothing else, without scripts and without anything from elsewhere, so it works on
machines that have no internet. Neither needs credentials: both tell what the source code tells.
"""

from __future__ import annotations

import json
from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, redirect, render_template
from flask_openapi3.openapi import OpenAPI
from werkzeug.wrappers import Response as AnyResponse

from uvr.api.openapi import commands, document, operations
from uvr.api.services import services_of

_PAGES = Path(__file__).parent.parent / "templates"


def register_docs(app: OpenAPI) -> None:
    """Add these addresses to `app`, to be called after all its endpoints were registered."""
    docs = Blueprint("docs", __name__, template_folder=_PAGES)
    style = (_PAGES / "docs.css").read_text(encoding="utf-8")
    # Made at the first request and kept: anybody may ask, as often as they like.
    made = cache(lambda: document(app))
    text = cache(lambda: json.dumps(made(), ensure_ascii=False))
    url = services_of(app).settings.base_url
    page = cache(lambda: render_template("docs.html", document=made(), groups=_groups(made()), style=style, url=url))

    @docs.get("/openapi.json")
    def show_document() -> Response:
        return Response(text(), mimetype="application/json")

    @docs.get("/docs")
    def show_page() -> Response:
        return Response(page(), headers={"Content-Security-Policy": _policy(style)})

    @docs.get("/")
    def show_front() -> AnyResponse:
        return redirect("docs")  # relative, so that it is also right behind a proxy that adds a path

    app.register_blueprint(docs)


def _groups(made: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The operations by their group, each with its path, its method and the commands that do it."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, method, operation in operations(made):
        entry = {
            **operation,
            "path": path,
            "method": method.upper(),
            "commands": commands(made, path, method, operation),
        }
        groups.setdefault(operation["tags"][0], []).append(entry)
    return groups


def _policy(style: str) -> str:
    """Leave for this one style sheet, and for nothing else from anywhere."""
    digest = b64encode(sha256(style.encode()).digest()).decode()
    style_src = f"style-src 'sha256-{digest}'"
    return f"default-src 'none'; {style_src}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
