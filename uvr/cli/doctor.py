"""`python -m uvr doctor`: whether this machine can run the service, and what will compute the network, and why.

It looks at all that the three processes look at when they start. Promises to scripts: it downloads nothing and needs no
model; it changes nothing, but for a small file that it stores in the bucket and deletes again; stdout has one line for
each thing looked at; the exit status is 0 unless a line begins with FAULT. It runs in either image of Docker: what only
the other one has packages for is said to be checked there.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from config import Settings, SettingsError
from uvr.disk import bytes_free
from uvr.environment.variables_without_effect import RETIRED_REASON, variables_without_effect
from uvr.errors import PermanentError, UvrError
from uvr.models import catalogue, store
from uvr.separation import devices
from uvr.separation.cpu_limits import usable_cores
from uvr.separation.engine_factory import needs_audio_separator, require_audio_separator
from uvr.separation.mdx import backends

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


@dataclass(frozen=True)
class Check:
    """One thing that is looked at, by a function that gives a finding or several."""

    subject: str
    look: Callable[[Settings], Finding | Iterable[Finding]]
    packages: tuple[str, ...] = ()
    """What it needs that not every image has."""
    image: str = ""
    """The image that has them."""


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
    for check in CHECKS:
        if lacking := [package for package in check.packages if not _is_installed(package)]:
            yield Finding(Mark.NOTE, check.subject, f"checked in the {check.image} image; here is no {lacking[0]}")
            continue
        try:
            found = check.look(settings)
            yield from [found] if isinstance(found, Finding) else found
        except ImportError as error:  # a package that is here but not whole
            yield Finding(Mark.FAULT, check.subject, f"a package cannot be loaded: {error}")


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # loaded in a way that says nothing about it
        return False


def _settings(_settings: Settings) -> Finding:
    return Finding(Mark.OK, "settings", "they are valid")  # or this command would not have started


def _variables(_settings: Settings) -> Iterator[Finding]:
    found = variables_without_effect()
    if found.retired:
        yield Finding(Mark.NOTE, "KAFKA_*", f"no longer used: {', '.join(found.retired)}; {RETIRED_REASON}")
    for unknown in found.unknown:
        yield Finding(Mark.NOTE, "variables", unknown.sentence)


def _password(settings: Settings) -> Iterator[Finding]:
    from uvr.api.auth.basic import password_faults

    faults = password_faults(settings)
    yield from (Finding(Mark.FAULT, "password", fault) for fault in faults)
    if not faults and password_faults(settings.model_copy(update={"api_host": "0.0.0.0"})):  # noqa: S104
        yield Finding(Mark.NOTE, "password", "BASIC_AUTH_PASSWORD is good enough on loopback only")
    elif not faults:
        yield Finding(Mark.OK, "password", "BASIC_AUTH_PASSWORD is set, and none that everybody tries first")


def _users(settings: Settings) -> Iterator[Finding]:
    from uvr.api.auth.users import Users

    try:
        Users(settings)
    except SettingsError as error:
        yield from (Finding(Mark.FAULT, "users", fault) for fault in error.faults)
        return
    file = settings.basic_auth_users_file
    yield Finding(Mark.OK, "users", f"{file} can be read and is valid" if file else "there is the admin alone")


def _webhook_secret(settings: Settings) -> Finding:
    from uvr.webhooks.delivery import is_plain, signing_key

    secret = settings.webhook_secret.get_secret_value()
    if not secret:
        return Finding(Mark.NOTE, "WEBHOOK_SECRET", "it is empty, so webhooks are not signed")
    try:
        signing_key(secret)
    except PermanentError as error:
        return Finding(Mark.FAULT, "WEBHOOK_SECRET", error.message)
    if is_plain(secret):
        sentence = "it does not begin with whsec_, so most libraries of receivers refuse it; env.example makes one"
        return Finding(Mark.NOTE, "WEBHOOK_SECRET", sentence)
    return Finding(Mark.OK, "WEBHOOK_SECRET", "webhooks are signed with it")


def _redis(settings: Settings) -> Finding:
    from redis import RedisError, ResponseError

    from uvr.redis.clients import connect
    from uvr.redis.requirements import check_redis

    try:
        with closing(connect(settings, command_timeout_s=2.0)) as clients:
            server = check_redis(clients, settings) or "it"
    except SettingsError as error:
        return Finding(Mark.FAULT, "Redis", error.faults[0])
    except ResponseError as error:
        return Finding(Mark.FAULT, "Redis", f"it takes no tasks for now ({error})")
    except RedisError as error:
        return Finding(Mark.FAULT, "Redis", f"it does not answer ({error}); ./start_local.sh and ./start.sh start one")
    return Finding(Mark.OK, "Redis", f"{server} answers and runs the service's scripts")


def _storage(settings: Settings) -> Iterator[Finding]:
    """What an uploader would find in the bucket; stems on disk are a matter of OUTPUT_DIR."""
    from uvr.storage.factory import open_storage

    name = settings.s3_bucket_name
    if not name:
        yield Finding(Mark.OK, "storage", "stems stay in OUTPUT_DIR, and the API serves them")
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
    if settings.link_warning:
        return Finding(Mark.NOTE, "links", settings.link_warning)
    where = f"the bucket {settings.s3_bucket_name}" if settings.s3_bucket_name else settings.base_url
    return Finding(Mark.OK, "links", f"links to stems lead to {settings.s3_public_domain or where}")


def _folder(variable: str, settings: Settings) -> Finding:
    folder: Path = getattr(settings, variable.lower())
    min_free_bytes = settings.min_free_bytes
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        mark = Mark.NOTE if variable == "MODEL_FILE_DIR" else Mark.FAULT  # one filled by hand may be read only
        return Finding(mark, variable, f"{folder} cannot be written to")
    free_bytes = bytes_free(folder)
    told = f"{folder} can be written to, {free_bytes / 2**30:.1f} GiB are free"
    if variable != "MODEL_FILE_DIR" and free_bytes < min_free_bytes:
        return Finding(Mark.FAULT, variable, f"{told}, and MIN_FREE_BYTES asks for {min_free_bytes / 2**30:.1f} GiB")
    return Finding(Mark.OK, variable, told)


def _kernels(_settings: Settings) -> Finding:
    """The library of our own kernels."""
    from uvr.separation.native import bindings
    from uvr.separation.native.build import BuildError, compiler

    try:
        loaded = bindings.load()
    except bindings.LibraryError as error:
        try:
            remedy = f"{compiler()[0]} is here: `make setup` says what is wrong"
        except BuildError as lacking:
            remedy = f"{lacking}; install one, then run `make setup`"
        return Finding(Mark.NOTE, "kernels", f"{error}; {remedy}")
    return Finding(Mark.OK, "kernels", f"they are built; this processor runs {loaded.best.name} instructions")


def _device(settings: Settings) -> Iterator[Finding]:
    """A device that was asked for; the best that works is found when the network is loaded."""
    if settings.device in ("auto", "cpu"):
        return
    import onnxruntime

    try:
        devices.providers(settings.device, onnxruntime.get_available_providers())
    except PermanentError as error:
        yield Finding(Mark.FAULT, "device", error.message)


def _model(settings: Settings) -> Iterator[Finding]:
    """The model's file, and what computes its network."""
    try:
        yield from _model_and_network(settings)
    except PermanentError as error:
        yield Finding(Mark.FAULT, "model", error.message)


def _model_and_network(settings: Settings) -> Iterator[Finding]:
    name = settings.model_name
    if needs_audio_separator(name, settings.separation_engine):
        require_audio_separator(name)
        yield Finding(Mark.OK, "model", f"audio-separator runs {name}")
        return
    path = store.model_file_path(name, settings.model_file_dir)
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
    except backends.KernelsUnavailableError as error:
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

_API = (("flask", "bcrypt"), "API's")
_PROCESSOR = (("numpy", "av", "onnxruntime"), "processor's")

CHECKS: tuple[Check, ...] = (
    Check("settings", _settings),
    Check("variables", _variables),
    Check("password", _password, *_API),
    Check("users", _users, *_API),
    Check("WEBHOOK_SECRET", _webhook_secret),
    Check("Redis", _redis),
    Check("storage", _storage),
    Check("links", _links),
    Check("TEMP_DIR", partial(_folder, "TEMP_DIR")),
    Check("OUTPUT_DIR", partial(_folder, "OUTPUT_DIR")),
    Check("MODEL_FILE_DIR", partial(_folder, "MODEL_FILE_DIR"), *_PROCESSOR),
    Check("kernels", _kernels, *_PROCESSOR),
    Check("device", _device, *_PROCESSOR),
    Check("model", _model, *_PROCESSOR),
)
