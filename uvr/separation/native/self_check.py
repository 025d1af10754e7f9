"""Compares the kernels with ONNX Runtime once per model, on the first conclusive segment of a song.

The kernels are tested, but not with every compiler, processor and model. So ONNX Runtime separates until a segment
contains enough of a stem; the kernels then separate the same segment. They are used from then on if they agree to
`MIN_SNR_DB`, else ONNX Runtime is. The verdict is stored next to the model's file, for this file, this library and this
kind of processor. If that folder is read-only, it is stored in a temporary folder that only this user can read.

The two never hold memory at the same time, so the check needs as much memory as ONNX Runtime alone: 1.2 GB once for
HQ_4. If several processes start, one checks and the others wait for its verdict. If a process dies during the check,
the check stays unfinished; after `MAX_TRIES` unfinished checks ONNX Runtime is used.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from uvr.models.files import file_lock
from uvr.privacy import make_private_folder
from uvr.separation.mdx.stft import Spectrum
from uvr.separation.native.bindings import Library

log = structlog.get_logger()

MIN_SNR_DB = 60.0
MAX_TRIES = 3

_MIN_STEM_SHARE = 1e-4
"""A segment is not conclusive if the power of its stem is below this share of the segment's power."""
_MIN_LEVEL_SHARE = 0.1
"""Rounding errors grow with the segment's level, so the error is compared with at least this share of its power."""
_MAX_SNR_DB = 300.0
"""The recorded value for identical results."""


@dataclass(frozen=True)
class Verdict:
    """The result of the self-check."""

    snr_db: float | None = None
    """Signal-to-noise ratio of the kernels' estimate against that of ONNX Runtime; None before a finished check."""
    tries: int = 0
    """The number of checks that were started and not finished."""

    @property
    def agrees(self) -> bool:
        """Whether the kernels may be used."""
        return self.snr_db is not None and self.snr_db >= MIN_SNR_DB

    @property
    def is_final(self) -> bool:
        """Whether no further check is made."""
        return self.snr_db is not None or self.tries >= MAX_TRIES

    @property
    def sentence(self) -> str:
        """The verdict in words, for logs and operators."""
        if self.snr_db is not None:
            return f"the self-check found {self.snr_db:.1f} dB; at least {MIN_SNR_DB:.0f} dB are required"
        if self.is_final:
            return f"the self-check was started {self.tries} times and never finished; delete its record to repeat it"
        return "the self-check will run with the first song"


class Record:
    """The stored verdict on one model file, for this kind of processor and this library.

    If the verdict cannot be written to disk, it lasts as long as this object.
    """

    def __init__(self, model_path: Path, data: bytes, library: Library) -> None:
        folder = _folder_for(model_path.parent)
        self._lock_path = folder / model_path.name
        self._about = {"model": model_path.name, "processor": _processor(), "instruction_set": library.best.name}
        digest = hashlib.sha256(json.dumps(self._about).encode())
        digest.update(hashlib.sha256(data).digest() + library.digest)
        self.path = folder / f".{model_path.name}.{digest.hexdigest()[:16]}.self-check.json"
        self._verdict = Verdict()

    def read(self) -> Verdict:
        """The current verdict."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            entry = json.loads(self.path.read_text(encoding="utf-8"))
            snr_db = entry["snr_db"]
            self._verdict = Verdict(None if snr_db is None else float(snr_db), int(entry["tries"]))
        return self._verdict

    def begin(self) -> None:
        """Record that a check starts."""
        self._write(replace(self.read(), tries=self.read().tries + 1))

    def conclude(self, snr_db: float) -> Verdict:
        """Record the result of a check."""
        bounded = max(-_MAX_SNR_DB, min(snr_db, _MAX_SNR_DB))
        self._write(Verdict(round(bounded, 1)))
        return self._verdict

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from making the same check at the same time."""
        with ExitStack() as stack:
            with suppress(OSError):
                stack.enter_context(file_lock(self._lock_path))
            yield

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


def is_conclusive(segment: Spectrum, reference: Spectrum) -> bool:
    """Whether `reference`, ONNX Runtime's estimate for `segment`, is loud enough to compare with."""
    power = _power(reference)
    return math.isfinite(power) and power > _MIN_STEM_SHARE * _power(segment)


def snr_db(segment: Spectrum, reference: Spectrum, estimate: Spectrum) -> float:
    """Signal-to-noise ratio of `estimate` against `reference`; minus infinity if `estimate` is not finite."""
    noise = _power(reference.astype(np.float64) - estimate)
    if not math.isfinite(noise):
        return -math.inf
    level = max(_power(reference), _MIN_LEVEL_SHARE * _power(segment))
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
    try:
        make_private_folder(own)
    except OSError as error:
        log.warning("self_check.folder_refused", folder=str(own), reason=error.strerror)
        return models
    return own


def _processor() -> str:
    """The processor's model, as exactly as the system knows it: a name on x86-64, numbers on ARM."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = {line for line in lines if line.startswith(("model name", "CPU implementer", "CPU part"))}
        if model:
            return " ".join(sorted(line.partition(":")[2].strip() for line in model))
    return platform.processor() or platform.machine()
