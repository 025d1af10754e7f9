"""The error of this package."""

from __future__ import annotations


class CannotStart(Exception):  # noqa: N818  # reads as what it is
    """Why the service does not start: sentences for the person at the terminal, with what to do about it."""
