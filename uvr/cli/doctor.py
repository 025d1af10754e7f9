"""`python -m uvr doctor`: check whether this machine can run the service, and say what computes the network and why.

It checks everything that the three processes check at their start. Promises to scripts: it downloads nothing and needs
no model. It changes nothing, except that it stores a small file in the bucket and deletes it again. stdout has one line
per finding. The exit status is 0 unless a line begins with FAULT. It runs in both Docker images: what one of them lacks
the packages for is reported as checked in the other.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config import EVERY_MODEL, Settings, SettingsError
from uvr.disk import bytes_free
from uvr.environment.variables_without_effect import RETIRED_REASON, variables_without_effect
from uvr.errors import DiskFullError, PermanentError, UvrError
from uvr.models import catalogue, store
from uvr.models.descriptions import read_description
from uvr.models.packed_files import PackedFilesPolicy
from uvr.models.presets import read_presets
from uvr.models.required_files import is_present, model_files
from uvr.models.roformers import roformer_description
from uvr.separation import devices
from uvr.separation.cpu_limits import usable_cores
from uvr.separation.engine_factory import usable_engine_of
from uvr.separation.instruction_sets import limit_to
from uvr.separation.mdx import backends
from uvr.separation.precision import PrecisionChoice, float32_terms, precision_of, require_precision, terms_to_try
from uvr.spelling import closest

if TYPE_CHECKING:
    from uvr.separation.roformer.configuration import NetworkShape

HEALTHY, FAULTY = 0, 1


class Mark(StrEnum):
    """The first word of a line."""

    OK = "ok"
    NOTE = "note"
    """The service works, but something could be better or is not known yet."""
    FAULT = "FAULT"


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    mark: Mark
    subject: str
    sentence: str


@dataclass(frozen=True)
class Check:
    """One check: a function that returns one finding or several."""

    subject: str
    run: Callable[[Settings], Finding | Iterable[Finding]]
    packages: tuple[str, ...] = ()
    """Packages that it needs and that not every image has."""
    image: str = ""
    """The image that has them."""


def add_parser(commands: Any) -> None:
    """Add `doctor` to the commands of an argument parser."""
    parser = commands.add_parser("doctor", help="check this machine and its settings", description=__doc__)
    parser.set_defaults(run=examine)


def examine(_options: argparse.Namespace, settings: Settings) -> int:
    """Print all findings. Invalid settings have already prevented the command from starting."""
    status = HEALTHY
    for finding in findings(settings):
        sys.stdout.write(f"{finding.mark:6}{finding.subject:16}{finding.sentence}\n")
        sys.stdout.flush()
        if finding.mark is Mark.FAULT:
            status = FAULTY
    return status


def findings(settings: Settings) -> Iterator[Finding]:
    """Run all checks, the fast ones first."""
    for check in CHECKS:
        if missing := [package for package in check.packages if not _is_installed(package)]:
            sentence = f"checked in the {check.image} image; this one has no {missing[0]}"
            yield Finding(Mark.NOTE, check.subject, sentence)
            continue
        try:
            found = check.run(settings)
            yield from [found] if isinstance(found, Finding) else found
        except ImportError as error:  # the package is installed but broken
            yield Finding(Mark.FAULT, check.subject, f"a package cannot be loaded: {error}")


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # loaded in a way that leaves no specification behind
        return False


def check_settings(_settings: Settings) -> Finding:
    """The settings are valid, otherwise this command would not have started."""
    return Finding(Mark.OK, "settings", "all settings are valid")


def check_variables(_settings: Settings) -> Iterator[Finding]:
    """Variables of .env and of the environment that the service does not read."""
    found = variables_without_effect()
    if found.retired:
        yield Finding(Mark.NOTE, "KAFKA_*", f"no longer used: {', '.join(found.retired)}; {RETIRED_REASON}")
    for unknown in found.unknown:
        yield Finding(Mark.NOTE, "variables", unknown.sentence)


def check_password(settings: Settings) -> Iterator[Finding]:
    """The password of the admin, for API_HOST and for an address that other machines can reach."""
    from uvr.api.auth.basic import password_faults

    faults = password_faults(settings)
    yield from (Finding(Mark.FAULT, "password", fault) for fault in faults)
    if not faults and password_faults(settings.model_copy(update={"api_host": "0.0.0.0"})):  # noqa: S104
        yield Finding(Mark.NOTE, "password", "BASIC_AUTH_PASSWORD is strong enough for loopback only")
    elif not faults:
        yield Finding(Mark.OK, "password", "BASIC_AUTH_PASSWORD is set, and is not a well-known password")


def check_presets(settings: Settings) -> Iterator[Finding]:
    """The file with presets of the operator, which the API reads."""
    try:
        presets = read_presets(settings.presets_file)
    except SettingsError as error:
        yield from (Finding(Mark.FAULT, "presets", fault) for fault in error.faults)
    else:
        yield Finding(Mark.OK, "presets", f"{', '.join(presets)}; GET /models shows which are offered")


def check_offers(settings: Settings) -> Iterator[Finding]:
    """The names in MODELS_OFFERED: a misspelled one is not offered, and no message says so."""
    with suppress(SettingsError):
        presets = read_presets(settings.presets_file)
        names = [name for name in settings.models_offered if name != EVERY_MODEL and name.lower() not in presets]
        for name in names:
            if not catalogue.known_model(name) and not is_present(name, settings.model_file_dir):
                meant = closest(name, [*presets, *catalogue.CATALOGUE])
                hint = f"; did you mean {meant}?" if meant else ", nor a file in MODEL_FILE_DIR"
                yield Finding(Mark.NOTE, "offers", f"{name} in MODELS_OFFERED is neither a preset nor a model{hint}")


def check_users(settings: Settings) -> Iterator[Finding]:
    """The users file, and who can read it."""
    from uvr.api.auth.users_file import read_users

    path = settings.basic_auth_users_file
    if path is None:
        yield Finding(Mark.OK, "users", "the admin is the only user")
        return
    try:
        file = read_users(path, settings.basic_auth_username)
    except SettingsError as error:
        yield from (Finding(Mark.FAULT, "users", fault) for fault in error.faults)
        return
    sentence = f"{path} is valid: {len(file.hashes)} users, {len(file.tokens)} tokens"
    if path.stat().st_mode & stat.S_IROTH:
        note = f"{sentence}; everybody on this machine can read it, so they could try passwords: chmod o-r {path}"
        yield Finding(Mark.NOTE, "users", note)
    else:
        yield Finding(Mark.OK, "users", sentence)


def check_webhook_secret(settings: Settings) -> Finding:
    """WEBHOOK_SECRET, and whether receivers can use it."""
    from uvr.webhooks.delivery import is_plain, signing_key

    secret = settings.webhook_secret.get_secret_value()
    if not secret:
        return Finding(Mark.NOTE, "WEBHOOK_SECRET", "it is empty, so an uploader with these settings signs no webhooks")
    try:
        signing_key(secret)
    except PermanentError as error:
        return Finding(Mark.FAULT, "WEBHOOK_SECRET", error.message)
    if is_plain(secret):
        sentence = "it does not begin with whsec_, so most libraries reject it; env.example shows how to create one"
        return Finding(Mark.NOTE, "WEBHOOK_SECRET", sentence)
    return Finding(Mark.OK, "WEBHOOK_SECRET", "webhooks are signed with it")


def check_redis(settings: Settings) -> Iterator[Finding]:
    """Whether Redis answers and can run the scripts of the service, and what another program left in its queues."""
    from redis import RedisError, ResponseError

    from uvr.redis import requirements
    from uvr.redis.clients import connect

    try:
        with closing(connect(settings, command_timeout_s=2.0)) as clients:
            server = requirements.check_redis(clients, settings) or "it"
            strangers = {
                queue: count
                for queue in (settings.redis_task_queue, settings.redis_result_queue)
                if (count := clients.commands.zcard(f"{queue}:foreign"))
            }
    except SettingsError as error:
        yield Finding(Mark.FAULT, "Redis", error.faults[0])
    except ResponseError as error:
        yield Finding(Mark.FAULT, "Redis", f"it does not accept tasks at the moment ({error})")
    except RedisError as error:
        yield Finding(Mark.FAULT, "Redis", f"it does not answer ({error}); ./start_local.sh and ./start.sh start one")
    else:
        yield Finding(Mark.OK, "Redis", f"{server} answers and runs the scripts of the service")
        for queue, count in strangers.items():
            sentence = f"{count} entries that another program wrote into {queue} are in {queue}:foreign and never run"
            yield Finding(Mark.NOTE, "queue", f"{sentence} (docs/migrating.md)")


def check_storage(settings: Settings) -> Iterator[Finding]:
    """What an uploader would find in the bucket. Without a bucket, OUTPUT_DIR is checked as a folder."""
    from uvr.storage.factory import open_storage

    name = settings.s3_bucket_name
    if not name:
        yield Finding(Mark.OK, "storage", "stems stay in OUTPUT_DIR, and the API serves them")
        return
    try:
        warnings = open_storage(settings, link_key=bytes).check()  # a bucket signs its own links
    except UvrError as error:
        yield Finding(Mark.FAULT, "bucket", f"nothing can be stored in {name}: {error.message}")
    else:
        yield Finding(Mark.OK, "bucket", f"files can be stored in {name}")
        yield from (Finding(Mark.NOTE, "rights", warning) for warning in warnings)


def check_links(settings: Settings) -> Finding:
    """Where links to stems lead."""
    if settings.link_warning:
        return Finding(Mark.NOTE, "links", settings.link_warning)
    bucket = settings.s3_bucket_name
    public = settings.s3_public_domain or settings.s3_public_endpoint_url
    where = (public or f"the bucket {bucket}") if bucket else settings.base_url
    return Finding(Mark.OK, "links", f"links to stems lead to {where}")


def check_folder(variable: str, settings: Settings) -> Finding:
    """Whether the folder that `variable` names is writable and has enough space."""
    folder: Path = getattr(settings, variable.lower())
    min_free_bytes = settings.min_free_bytes
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        # A folder of model files that the operator has filled may be read-only.
        if variable == "MODEL_FILE_DIR":
            cache_dir = settings.model_cache_dir
            return Finding(Mark.NOTE, variable, f"{folder} is not writable; converted RoFormers go into {cache_dir}")
        return Finding(Mark.FAULT, variable, f"{folder} is not writable")
    free_bytes = bytes_free(folder)
    sentence = f"{folder} is writable and has {free_bytes / 2**30:.1f} GiB free"
    if variable != "MODEL_FILE_DIR" and free_bytes < min_free_bytes:
        return Finding(Mark.FAULT, variable, f"{sentence}; MIN_FREE_BYTES requires {min_free_bytes / 2**30:.1f} GiB")
    return Finding(Mark.OK, variable, sentence)


def check_kernels(settings: Settings) -> Iterator[Finding]:
    """Whether the library of our own kernels is built, which instruction set it uses, and which precision."""
    from uvr.separation.native import bindings
    from uvr.separation.native.build import BuildError, compiler

    try:
        loaded = bindings.load()
    except bindings.LibraryError as error:
        try:
            remedy = f"{compiler()[0]} is installed; `make setup` says why it did not build them"
        except BuildError as no_compiler:
            remedy = f"{no_compiler}; install one, then run `make setup`"
        is_demanded = settings.inference_precision == "bfloat16"
        yield Finding(Mark.FAULT if is_demanded else Mark.NOTE, "kernels", f"{error}; {remedy}")
        return
    widest = loaded.instruction_sets[0].name
    try:
        limit_to(settings.network_isa)
        used = loaded.best.name
        limits = f", and NETWORK_ISA limits them to {used} instructions" if used != widest else " instructions"
        yield Finding(Mark.OK, "kernels", f"they are built; this CPU runs {widest}{limits}")
        if obstacle := _AMX_OBSTACLES.get(loaded.amx_state.name):
            yield Finding(Mark.NOTE, "AMX", f"{obstacle}; the kernels use {used} instructions (docs/devices.md)")
        require_precision(settings.inference_precision, settings.network_isa)
        yield _precision_finding(settings.inference_precision, used)
    except PermanentError as error:
        yield Finding(Mark.FAULT, "kernels", error.message)


_AMX_OBSTACLES = {
    "NOT_SAVED": (
        "this CPU has AMX, but the operating system does not save its tiles when it switches threads; Linux 5.16 and "
        "later do, in a virtual machine, too"
    ),
    "REFUSED": (
        "this CPU has AMX, but the system refuses its tiles to this process: allow arch_prctl with "
        "ARCH_REQ_XCOMP_PERM in the sandbox or the seccomp profile of the container, and use Linux 5.16 or later"
    ),
}


def _precision_finding(choice: PrecisionChoice, instruction_set: str) -> Finding:
    """What RoFormers are computed in; the finding about a model says what its self-check has found."""
    terms, *fallback = terms_to_try(choice, instruction_set)
    reason = f"INFERENCE_PRECISION={choice}"
    if fallback:
        reason += ", and each must agree with float32 when it is first loaded"
    elif choice == "auto":
        reason += f", and {instruction_set} computes bfloat16 no faster"
    elif terms == float32_terms("amx"):
        reason += ", as three products of bfloat16 numbers"
    return Finding(Mark.OK, "precision", f"RoFormers are computed in {precision_of(terms)} ({reason})")


def check_device(settings: Settings) -> Iterator[Finding]:
    """Whether a requested graphics card can be used. With DEVICE=auto this is found out when the network is loaded."""
    if settings.device in ("auto", "cpu"):
        return
    import onnxruntime

    try:
        devices.providers(settings.device, onnxruntime.get_available_providers())
    except PermanentError as error:
        yield Finding(Mark.FAULT, "device", error.message)


def check_model(settings: Settings) -> Iterator[Finding]:
    """The model file, and what computes its network."""
    name = settings.model_name
    try:
        engine = usable_engine_of(name, settings.model_file_dir, settings.separation_engine, settings.device)
        if engine != "mdx":
            yield _other_finding(engine, name, settings)
            return
        path = store.model_file_path(name, settings.model_file_dir)
        if not path.is_file():
            yield Finding(Mark.NOTE, "model", f"{path.name} is not in MODEL_FILE_DIR; the first start downloads it")
            return
        parameters = store.parameters_of(path)
        yield Finding(Mark.OK, "model", f"{path.name} is in place")
        yield _network_finding(settings, path, parameters)
    except (PermanentError, DiskFullError) as error:
        yield Finding(Mark.FAULT, "model", error.message)


def _other_finding(engine: str, name: str, settings: Settings) -> Finding:
    """What runs a model that is not MDX-Net. Raises `DiskFullError` if a RoFormer cannot be converted."""
    if engine == "audio-separator":
        return Finding(Mark.OK, "model", f"audio-separator runs {name}")
    name, folder = store.split_model_path(name, settings.model_file_dir)
    if not is_present(name, folder):
        return Finding(Mark.NOTE, "model", f"{name} is not in MODEL_FILE_DIR; the first start downloads it")
    from uvr.separation.roformer.configuration import read_configuration  # not before it is needed: takes time

    description = roformer_description(name, folder)
    assert description is not None
    shape = read_configuration(read_description(description), description.name).shape
    return _roformer_finding(model_files(name, folder)[0], description, shape, settings)


def _roformer_finding(file: Path, description: Path, shape: NetworkShape, settings: Settings) -> Finding:
    """What a RoFormer is computed in, what its self-checks have found, and whether it is converted for that."""
    from uvr.separation.native import bindings
    from uvr.separation.roformer.checked_weights import recorded_verdict
    from uvr.separation.roformer.packed_weights import converted_weights, max_packed_bytes

    name, policy, found = file.name, PackedFilesPolicy.of(settings), []
    try:
        instruction_set = bindings.load().best.name
    except bindings.LibraryError as error:
        return Finding(Mark.NOTE, "model", f"our own kernels do not run {name}: {error}")
    for terms in terms_to_try(settings.inference_precision, instruction_set):
        verdict = recorded_verdict(file, description, policy, precision_of(terms))
        found.append(verdict.sentence)
        if verdict.is_refusal:
            continue
        if terms not in converted_weights(file, description, policy):
            policy.require_room(policy.folder_for(file.parent, create=False), name, max_packed_bytes(shape, terms))
            found.append("the first start converts it, which takes up to a minute")
        sentence = f"our own kernels run {name}, without torch, in {precision_of(terms)}: {'; '.join(found)}"
        return Finding(Mark.OK, "model", sentence)
    return Finding(Mark.NOTE, "model", f"our own kernels do not run {name}: {'; '.join(found)}")


def _network_finding(settings: Settings, path: Path, parameters: catalogue.MdxParameters) -> Finding:
    """What computes the network; a processor decides it in the same way."""
    device, backend = settings.device, settings.network_backend
    requested = f"DEVICE={device}, NETWORK_BACKEND={backend}, {settings.inference_threads or usable_cores()} threads"
    try:
        decision = backends.decide(path, parameters, device=device, backend=backend)
    except backends.KernelsUnavailableError as error:
        return Finding(Mark.FAULT, "network", f"NETWORK_BACKEND=native, but {error} ({requested})")
    is_best = decision.way == "native" or backend == "onnxruntime" or device not in ("auto", "cpu")
    may_use_card = backend == "auto" and device == "auto" and devices.may_have_cuda()
    card = "a graphics card if one works, otherwise " if may_use_card else ""
    sentence = f"{card}{_BACKENDS[decision.way]}: {decision.reason} ({requested})"
    return Finding(Mark.OK if is_best else Mark.NOTE, "network", sentence)


_BACKENDS = {
    "native": "our own kernels",
    "onnxruntime": "ONNX Runtime",
    "unchecked": "our own kernels if they agree with ONNX Runtime",
}

_API = (("flask", "bcrypt"), "API's")
_PROCESSOR = (("numpy", "av", "onnxruntime"), "processor's")

CHECKS: tuple[Check, ...] = (
    Check("settings", check_settings),
    Check("variables", check_variables),
    Check("password", check_password, *_API),
    Check("users", check_users, *_API),
    Check("presets", check_presets, *_API),
    Check("offers", check_offers, *_PROCESSOR),
    Check("WEBHOOK_SECRET", check_webhook_secret),
    Check("Redis", check_redis),
    Check("storage", check_storage),
    Check("links", check_links),
    Check("TEMP_DIR", partial(check_folder, "TEMP_DIR")),
    Check("OUTPUT_DIR", partial(check_folder, "OUTPUT_DIR")),
    Check("MODEL_FILE_DIR", partial(check_folder, "MODEL_FILE_DIR"), *_PROCESSOR),
    Check("kernels", check_kernels, *_PROCESSOR),
    Check("device", check_device, *_PROCESSOR),
    Check("model", check_model, *_PROCESSOR),
)
