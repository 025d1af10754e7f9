"""`python -m uvr doctor`: whether this machine can run the service, and what will compute the network, and why.

Promises to scripts: it downloads nothing and needs no model; it changes nothing, but for a small file that it stores in
the bucket and deletes again; stdout has one line for each thing looked at; the exit status is 0 unless a line begins
with FAULT.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from config import Settings, SettingsError
from uvr.disk import bytes_free
from uvr.errors import PermanentError, UvrError
from uvr.models import catalogue, store
from uvr.separation import backends, devices
from uvr.separation.cores import usable_cores
from uvr.separation.engines import needs_library, require_library

HEALTHY, FAULTY = 0, 1


class Mark(StrEnum):
    """How a line begins."""

    OK = "ok"
    NOTE = "note"
    """All is well, but could be better, or is not known yet."""
    FAULT = "FAULT"


@dataclass(frozen=True)
class Finding:
    """One line."""

    mark: Mark
    subject: str
    sentence: str


def add_parser(commands: Any) -> None:
    """Add `doctor` to the commands of an argument parser."""
    parser = commands.add_parser("doctor", help="check this machine and its settings", description=__doc__)
    parser.set_defaults(run=examine)


def examine(_wanted: argparse.Namespace, settings: Settings) -> int:
    """Print what is found; faults of single settings have already kept the command from starting."""
    status = HEALTHY
    for finding in findings(settings):
        sys.stdout.write(f"{finding.mark:6}{finding.subject:16}{finding.sentence}\n")
        sys.stdout.flush()
        if finding.mark is Mark.FAULT:
            status = FAULTY
    return status


def findings(settings: Settings) -> Iterator[Finding]:
    """Everything that is looked at, quick things first."""
    yield Finding(Mark.OK, "settings", "they are valid")
    yield _redis(settings)
    yield from _bucket(settings)
    yield _links(settings)
    for name in ("temp_dir", "output_dir", "model_file_dir"):
        yield _folder(name.upper(), getattr(settings, name), settings.min_free_bytes)
    yield _kernels()
    try:
        yield from _model(settings)
    except PermanentError as error:
        yield Finding(Mark.FAULT, "model", error.message)


def _redis(settings: Settings) -> Finding:
    from redis import RedisError

    from uvr.redis.clients import connect

    try:
        with closing(connect(settings, command_timeout_s=2.0)) as clients:
            clients.commands.ping()
    except SettingsError as error:
        return Finding(Mark.FAULT, "Redis", error.faults[0])
    except RedisError as error:
        return Finding(Mark.FAULT, "Redis", f"it does not answer ({error}); ./start_local.sh and ./start.sh start one")
    return Finding(Mark.OK, "Redis", "it answers")


def _bucket(settings: Settings) -> Iterator[Finding]:
    """What an uploader would find, if there is a bucket."""
    from uvr.storage.factory import open_storage

    name = settings.s3_bucket_name
    if not name:
        return
    try:
        warnings = open_storage(settings, link_key=bytes).check()  # a bucket signs its links itself
    except UvrError as error:
        yield Finding(Mark.FAULT, "bucket", f"nothing can be stored in {name}: {error.message}")
    else:
        yield Finding(Mark.OK, "bucket", f"files can be stored in {name}")
        yield from (Finding(Mark.NOTE, "rights", warning) for warning in warnings)


def _links(settings: Settings) -> Finding:
    """Where links to stems lead."""
    if settings.wrong_links:
        return Finding(Mark.NOTE, "links", settings.wrong_links)
    where = f"the bucket {settings.s3_bucket_name}" if settings.s3_bucket_name else settings.base_url
    return Finding(Mark.OK, "links", f"links to stems lead to {settings.s3_public_domain or where}")


def _folder(variable: str, folder: Path, min_free_bytes: int) -> Finding:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        mark = Mark.NOTE if variable == "MODEL_FILE_DIR" else Mark.FAULT  # one filled by hand may be read only
        return Finding(mark, variable, f"{folder} cannot be written to")
    free_bytes = bytes_free(folder)
    told = f"{folder} can be written to, {free_bytes / 2**30:.1f} GiB are free"
    if variable != "MODEL_FILE_DIR" and free_bytes < min_free_bytes:
        return Finding(Mark.FAULT, variable, f"{told}, and MIN_FREE_BYTES asks for {min_free_bytes / 2**30:.1f} GiB")
    return Finding(Mark.OK, variable, told)


def _kernels() -> Finding:
    """The library of our own kernels."""
    from uvr.separation.native import library
    from uvr.separation.native.build import BuildError, compiler

    try:
        loaded = library.load()
    except library.LibraryError as error:
        try:
            remedy = f"{compiler()[0]} is here: `make setup` says what is wrong"
        except BuildError as lacking:
            remedy = f"{lacking}; install one, then run `make setup`"
        return Finding(Mark.NOTE, "kernels", f"{error}; {remedy}")
    return Finding(Mark.OK, "kernels", f"they are built; this processor runs {loaded.best.name} instructions")


def _model(settings: Settings) -> Iterator[Finding]:
    """The model's file, and what computes its network; raises `PermanentError` for one that cannot be run."""
    name = settings.model_name
    if needs_library(name, settings.separation_engine):
        require_library(name)
        yield Finding(Mark.OK, "model", f"audio-separator runs {name}")
        return
    path = store.place_of(name, settings.model_file_dir)
    if not path.is_file():
        yield Finding(Mark.NOTE, "model", f"{path.name} is not in MODEL_FILE_DIR; the first start fetches it")
        return
    parameters = store.parameters_of(path)
    yield Finding(Mark.OK, "model", f"{path.name} is here")
    yield _network(settings, path, parameters)


def _network(settings: Settings, path: Path, parameters: catalogue.MdxParameters) -> Finding:
    """What computes the network, as the processor process decides it."""
    device, backend = settings.device, settings.network_backend
    asked = f"DEVICE={device}, NETWORK_BACKEND={backend}, {settings.inference_threads or usable_cores()} threads"
    try:
        decision = backends.decide(path, parameters, device=device, backend=backend)
    except backends.NoKernelsError as error:
        return Finding(Mark.FAULT, "network", f"NETWORK_BACKEND=native, but {error} ({asked})")
    is_right = decision.way == "native" or backend == "onnxruntime" or device not in ("auto", "cpu")
    card = backend == "auto" and device == "auto" and devices.may_have_cuda()
    first = "a graphics card if one works, else " if card else ""
    sentence = f"{first}{_WAYS[decision.way]}: {decision.reason} ({asked})"
    return Finding(Mark.OK if is_right else Mark.NOTE, "network", sentence)


_WAYS = {
    "native": "our own kernels",
    "onnxruntime": "ONNX Runtime",
    "unchecked": "ONNX Runtime, and our own kernels from the first song on if they agree",
}
