"""/session: sign in, see who is signed in, and sign out. For the page of the service; programs need no session.

Passwords are checked as everywhere, with the same limits.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import structlog
from flask import Response, abort, g, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.request_body import RequestBody
from flask_openapi3.utils import parse_body
from pydantic import ValidationError

from uvr.api.auth.basic import current_user, refuse_sign_in, require_user, verify_password
from uvr.api.auth.client_address import client_address
from uvr.api.auth.session_cookie import current_session, given_cookie, remove_cookie, require_own_page, set_cookie
from uvr.api.json_body import require_json
from uvr.api.problems import Problem, problem, validation_problem
from uvr.api.responses import json_response
from uvr.api.schemas.sessions import SIGN_IN_FORM, SignIn, WhoAmI, who_am_i
from uvr.api.services import services

log = structlog.get_logger()

session = APIBlueprint("session", __name__)


@session.post(
    "/session",
    responses={
        200: WhoAmI,
        400: Problem,
        401: Problem,
        403: Problem,
        413: Problem,
        415: Problem,
        429: Problem,
        503: Problem,
    },
)
def sign_in() -> Response:
    """Sign in. The answer sets a cookie, which counts in requests of the service's own page.

    A user may have 50 sessions; the next one ends the one that would expire first.
    """
    body = _sent_credentials()
    account = services().users.account(body.username)  # before the check, which takes a while: see `Sessions.begin`
    user = verify_password(body.username, body.password)
    if user is None or account is None:
        return refuse_sign_in()
    services().request_rate.take(user.name)
    begun = services().sessions.begin(account)
    log.info("session.begun", user=user.name, address=client_address())
    response = json_response(who_am_i(user, begun.expires_ms))
    set_cookie(response, begun)
    return response


@session.get("/session", responses={200: WhoAmI, 401: Problem, 403: Problem, 429: Problem, 503: Problem})
def show_session() -> Response:
    """Show who is signed in. Without credentials, or after the session has ended, `user` is null, which is no error."""
    if request.authorization is not None:
        if refusal := require_user():
            return refusal
        return json_response(who_am_i(current_user()))
    found = current_session()
    return json_response(who_am_i(found.user, found.expires_ms) if found else who_am_i(None))


@session.delete("/session", responses={204: None, 403: Problem, 503: Problem})
def sign_out() -> Response:
    """Sign out: the session ends at once, everywhere. It is no error if there is none."""
    response = Response(status=HTTPStatus.NO_CONTENT)
    if cookie := given_cookie():
        require_own_page()
        if user := services().sessions.end(cookie, services().users.account):
            log.info("session.ended", user=user.name, address=client_address())
        remove_cookie(response)
    return response


def _sent_credentials() -> SignIn:
    """The name and the password in the body, JSON or a form. Ends the request with a 4xx if there are none."""
    if "Transfer-Encoding" in request.headers:  # it would have to be waited for, by an unknown client
        abort(problem(HTTPStatus.LENGTH_REQUIRED, "Send the body with a Content-Length and not in chunks."))
    if request.mimetype == SIGN_IN_FORM:
        fields: dict[str, Any] = request.form.to_dict()
    else:
        require_json()
        fields = g.body
    try:
        return SignIn.model_validate(fields)
    except ValidationError as error:
        abort(validation_problem(error))


_content, _schemas = parse_body(SignIn)
session.components_schemas.update(_schemas)
session.paths["/session"].post.requestBody = RequestBody(
    content={**_content, SIGN_IN_FORM: next(iter(_content.values()))}, required=True
)
