"""Whether the kernels compute a model as they should: found out once, kept beside the model's file.

The kernels are tested, but not with every compiler, processor and model. So before a model is used for the first time,
a slower implementation and the kernels compute the same input (`mdx.self_check`, `roformer.self_check`), and the
kernels are used only if they agree to `MIN_SNR_DB`. That happens in a process that ends afterwards (`check_process`).

The verdict is stored next to the model's file, for this file, this library, this processor, and the instruction set and
the precision in use: a model may be refused in bfloat16 and used in float32. If that folder is read-only, it is stored
in a temporary folder that only this user can read. If several processes start, one checks and the others wait for its
verdict. A check that dies is repeated; after `MAX_TRIES` of them the kernels are not used. Records that no longer apply
to anything are removed before a check.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from uvr.errors import ChangedModelError
from uvr.models.files import file_lock
from uvr.privacy import make_private_folder
from uvr.separation.native.bindings import Library
from uvr.separation.native.check_process import Comparison, UnfinishedCheckError, run_check
from uvr.separation.precision import Precision

log = structlog.get_logger()

MIN_SNR_DB: dict[Precision, float] = {"float32": 60.0, "bfloat16": 35.0}
"""What is required. In bfloat16, a trained RoFormer reaches 45 to 55 dB on songs (docs/decisions/0056)."""
MAX_TRIES = 3

_MIN_LEVEL_SHARE = 0.1
"""Rounding errors grow with the input's level, so the error is compared with at least this share of its power."""
_MAX_SNR_DB = 300.0
"""The recorded value for identical results."""
_UNUSED_S = 30 * 86_400
"""Other processors and instruction sets may share the folder: their records stay as long as they are used."""
_SUFFIX = ".self-check.json"


@dataclass(frozen=True)
class Verdict:
    """The result of the self-check."""

    snr_db: float | None = None
    """Signal-to-noise ratio of the kernels' estimate against that of ONNX Runtime; None before a finished check."""
    tries: int = 0
    """The number of checks that were started and not finished."""
    failure: str = ""
    """Why the latest of these did not finish, as far as it is known."""
    precision: Precision = "float32"
    """In which the kernels were checked."""

    @property
    def agrees(self) -> bool:
        """Whether the kernels may be used in this precision."""
        return self.snr_db is not None and self.snr_db >= MIN_SNR_DB[self.precision]

    @property
    def is_refusal(self) -> bool:
        """Whether they may not, and no further check is made."""
        return self.is_final and not self.agrees

    @property
    def is_final(self) -> bool:
        """Whether no further check is made."""
        return self.snr_db is not None or self.tries >= MAX_TRIES

    @property
    def sentence(self) -> str:
        """The verdict in words, for logs and operators."""
        check = "the self-check" if self.precision == "float32" else f"the self-check in {self.precision}"
        if self.snr_db is not None:
            return f"{check} found {self.snr_db:.1f} dB; at least {MIN_SNR_DB[self.precision]:.0f} dB are required"
        if self.is_final:
            because = f" ({self.failure})" if self.failure else ""
            return f"{check} was started {self.tries} times and never finished{because}; delete its record to repeat it"
        return f"{check} runs when the model is loaded for the first time"


class Record:
    """The stored verdict on one model, whose file or fingerprint is `content`, for this processor and this library.

    If the verdict cannot be written to disk, it lasts as long as this object.
    """

    def __init__(self, model_path: Path, content: bytes, library: Library, precision: Precision = "float32") -> None:
        self._folder = _folder_for(model_path.parent)
        self._models = model_path.parent
        self._precision: Precision = precision
        self._about = {
            "model": model_path.name,
            "processor": _processor(),
            "instruction_set": library.best.name,
            "precision": precision,
            "library": library.digest.hex(),
            "content": hashlib.sha256(content).hexdigest(),
        }
        name = hashlib.sha256(json.dumps(self._about).encode()).hexdigest()[:16]
        self.path = self._folder / f".{model_path.name}.{name}{_SUFFIX}"
        self._verdict = Verdict(precision=self._precision)

    def read(self) -> Verdict:
        """The current verdict."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            entry = json.loads(self.path.read_text(encoding="utf-8"))
            snr_db = entry["snr_db"]
            tries, failure = int(entry["tries"]), str(entry["failure"])
            self._verdict = Verdict(None if snr_db is None else float(snr_db), tries, failure, self._precision)
        with suppress(OSError):
            os.utime(self.path)  # it is in use
        return self._verdict

    def begin(self) -> None:
        """Record that a check starts."""
        self._write(replace(self.read(), tries=self.read().tries + 1, failure=""))

    def fail(self, failure: str) -> None:
        """Record why the check that began did not finish."""
        self._write(replace(self.read(), failure=failure))

    def withdraw(self) -> None:
        """Take back that a check began, because it had nothing to check."""
        self._write(replace(self.read(), tries=max(0, self.read().tries - 1)))

    def conclude(self, snr_db: float) -> Verdict:
        """Record the result of a check; `snr_db` may be infinite."""
        bounded = max(-_MAX_SNR_DB, min(snr_db, _MAX_SNR_DB))
        self._write(Verdict(round(bounded, 1), precision=self._precision))
        return self._verdict

    def remove_stale(self) -> None:
        """Remove records of models that are gone, of older files and libraries, and those that are no longer used.

        For the holder of the lock: only that process may be writing.
        """
        parts = self._folder.glob(f".*{_SUFFIX}.*.part")
        records = (path for path in self._folder.glob(f".*{_SUFFIX}") if path != self.path and self._is_stale(path))
        for path in (*parts, *records):
            log.info("self_check.stale_record_removed", file=path.name)
            with suppress(OSError):
                path.unlink()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from making a check at the same time: each needs much memory for some seconds."""
        with ExitStack() as stack:
            with suppress(OSError):
                stack.enter_context(file_lock(self._folder / "self-check"))
            yield

    def _is_stale(self, path: Path) -> bool:
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
            model, _ = str(about["model"]), about["content"]  # which records of older versions lack
            is_unused = time.time() - path.stat().st_mtime > _UNUSED_S
            same = {name for name, value in self._about.items() if about.get(name) == value}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return True
        if "model" not in same:
            return is_unused or not (self._models / model).exists()
        is_of_this_machine = {"processor", "instruction_set"} <= same
        return is_unused or "content" not in same or (is_of_this_machine and "library" not in same)

    def _write(self, verdict: Verdict) -> None:
        self._verdict = verdict
        part = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        try:
            part.write_text(json.dumps(self._about | asdict(verdict), indent=2) + "\n", encoding="utf-8")
            part.replace(self.path)
        except OSError as error:
            log.info("self_check.not_kept", reason=error.strerror)
            with suppress(OSError):
                part.unlink(missing_ok=True)


def checked(record: Record, comparison_of: Callable[[int], Comparison]) -> Verdict:
    """The verdict in `record`. If there is none yet, the check is made first, or another process is waited for.

    `comparison_of` gives the comparison to run after so many unfinished ones. Raises `ChangedModelError`.
    """
    verdict = record.read()
    if verdict.is_final:
        return verdict
    with record.lock():
        record.remove_stale()
        while not (verdict := record.read()).is_final:
            record.begin()
            try:
                result = run_check(comparison_of(verdict.tries))
            except ChangedModelError:
                record.withdraw()
                raise
            except UnfinishedCheckError as error:
                record.fail(str(error))
                log.warning("network.check_unfinished", tries=verdict.tries + 1, reason=str(error))
            else:
                record.conclude(result.snr_db)
                found = record.read()
                facts = {"elapsed_s": result.elapsed_s, "memory_bytes": result.max_bytes}
                log.info("network.checked", precision=found.precision, snr_db=found.snr_db, **facts)
    return verdict


Numbers = NDArray[np.floating]


def snr_db(source: Numbers, reference: Numbers, estimate: Numbers) -> float:
    """Signal-to-noise ratio of `estimate` against `reference`; minus infinity if one of them is not finite.

    Both are computed from `source`, which for masks is the mask that changes nothing. Where a network answers it with
    next to nothing, the level of `source` counts.
    """
    noise = _power(reference.astype(np.float64) - estimate)
    if not math.isfinite(noise):
        return -math.inf
    level = max(_power(reference), _MIN_LEVEL_SHARE * _power(source))
    return 10 * math.log10(level / noise) if noise else math.inf


def _power(values: NDArray[np.floating]) -> float:
    exact = values.astype(np.float64).ravel()
    return float(exact @ exact)


def _folder_for(models: Path) -> Path:
    """The folder of the records: that of the `models` or, if it is read-only, a temporary folder of this user alone.

    Without records each process would check again, and a check that kills the process would be repeated forever. A
    temporary folder that another user has prepared under this name is not used: its verdicts could be false, and its
    links could lead our files elsewhere.
    """
    if os.access(models, os.W_OK | os.X_OK):
        return models
    own = Path(tempfile.gettempdir()) / f"uvr-self-checks-{os.geteuid()}"
    folder = own / hashlib.sha256(os.fsencode(models.resolve())).hexdigest()[:16]
    try:
        make_private_folder(own)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        log.warning("self_check.folder_refused", folder=str(own), reason=error.strerror)
        return models
    return folder


def _processor() -> str:
    """The processor's model, as exactly as the system knows it: a name on x86-64, numbers on ARM."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = {line for line in lines if line.startswith(("model name", "CPU implementer", "CPU part"))}
        if model:
            return " ".join(sorted(line.partition(":")[2].strip() for line in model))
    return platform.processor() or platform.machine()
