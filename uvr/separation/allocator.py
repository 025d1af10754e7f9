"""Gives the memory of large arrays back to the system as soon as they are freed.

glibc takes an array of its own mapping as a sign that such arrays come and go: when it is freed, later ones up to its
size come from the heap, which keeps holes and up to twice that size at its end. The spectra of a song, 10 MB each, so
cost a process 10 to 40 MB that no array uses.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_MMAP_THRESHOLD = -3  # in glibc's malloc.h
_LARGE_BYTES = 1 << 20


def return_large_arrays() -> None:
    """From now on, arrays of a megabyte or more have a mapping of their own. Without glibc nothing changes."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
