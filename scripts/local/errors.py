"""The exceptions of this package."""

from __future__ import annotations


class StartError(Exception):
    """The service cannot be started; the message says why and what to do, for the person at the terminal."""
