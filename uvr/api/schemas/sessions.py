"""Bodies of /session."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from uvr.api.auth.users import User
from uvr.timestamps import iso_time

SIGN_IN_FORM = "application/x-www-form-urlencoded"


class SignIn(BaseModel):
    """A user's name and password."""

    model_config = ConfigDict(strict=True, hide_input_in_errors=True)

    username: Annotated[str, Field(max_length=255, examples=["admin"])]
    password: Annotated[str, Field(max_length=1024, examples=["correct horse"])]


class WhoAmI(BaseModel):
    """Who is signed in."""

    user: Annotated[str | None, Field(description="null without a session", examples=["admin"])]
    is_admin: bool
    expires_at: Annotated[
        str | None,
        Field(
            description="when the session ends unless it is used; null without one",
            examples=["2026-11-23T16:46:01.000Z"],
        ),
    ]


def who_am_i(user: User | None, expires_ms: int = 0) -> WhoAmI:
    """`user`, whose session expires then, as a response."""
    return WhoAmI(
        user=user.name if user else None, is_admin=bool(user and user.is_admin), expires_at=iso_time(expires_ms)
    )
