"""Whether the kernels agree with ONNX Runtime about a model: asked once, on the first segment of a song that tells.

The kernels are tested, but not with every compiler, processor and model. So ONNX Runtime separates until there is a
segment with a stem in it; then the kernels separate the same one. From `MIN_SNR_DB` on they take over, otherwise ONNX
Runtime stays. The answer is kept beside the model's file for this file, this library and this kind of processor; among
this user's temporary files where that folder is read only.

The two never hold memory at the same time, so the check needs as much as ONNX Runtime alone: HQ_4 takes 1.2 GB once.
Of several processes only one checks, and the others wait for its answer. A process that dies in the check has begun one
that is never finished; after `MAX_TRIES` of them ONNX Runtime is kept.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from uvr.models.files import file_lock
from uvr.separation.mdx.stft import Spectrum
from uvr.separation.native.bindings import Library

log = structlog.get_logger()

MIN_SNR_DB = 60.0
MAX_TRIES = 3

_FAINT = 1e-4
"""A stem that is fainter than the segment by this factor, as power, tells nothing."""
_FLOOR = 0.1
"""Rounding errors come with the segment's level: with a fainter stem they are compared with this share of its power."""
_MAX_SNR_DB = 300.0
"""Stands for no difference at all."""


@dataclass(frozen=True)
class Verdict:
    """What the self-check has found."""

    snr_db: float | None = None
    """The kernels' against ONNX Runtime; None as long as there is no answer."""
    tries: int = 0
    """How many checks were begun and not finished."""

    @property
    def agrees(self) -> bool:
        """Whether the kernels may be used."""
        return self.snr_db is not None and self.snr_db >= MIN_SNR_DB

    @property
    def is_final(self) -> bool:
        """Whether no check is to be made any more."""
        return self.snr_db is not None or self.tries >= MAX_TRIES

    @property
    def sentence(self) -> str:
        """For logs and operators."""
        if self.snr_db is not None:
            return f"the self-check found {self.snr_db:.1f} dB, {MIN_SNR_DB:.0f} dB or more are right"
        if self.is_final:
            return f"the self-check was begun {self.tries} times and never finished; without its record it begins anew"
        return "the self-check is made with the first song"


class Record:
    """The verdict about one model file, on this kind of processor, with this library.

    Where its file cannot be written, it lasts as long as this object.
    """

    def __init__(self, model_path: Path, data: bytes, library: Library) -> None:
        folder = _folder_for(model_path.parent)
        self._lock = folder / model_path.name
        self._about = {"model": model_path.name, "processor": _processor(), "instruction_set": library.best.name}
        digest = hashlib.sha256(json.dumps(self._about).encode())
        digest.update(hashlib.sha256(data).digest() + library.digest)
        self.path = folder / f".{model_path.name}.{digest.hexdigest()[:16]}.self-check.json"
        self._verdict = Verdict()

    def read(self) -> Verdict:
        """What is known so far."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            entry = json.loads(self.path.read_text(encoding="utf-8"))
            snr_db = entry["snr_db"]
            self._verdict = Verdict(None if snr_db is None else float(snr_db), int(entry["tries"]))
        return self._verdict

    def begin(self) -> None:
        """Note that a check begins."""
        self._write(replace(self.read(), tries=self.read().tries + 1))

    def conclude(self, snr_db: float) -> Verdict:
        """Note what the check has found."""
        bounded = max(-_MAX_SNR_DB, min(snr_db, _MAX_SNR_DB))
        self._write(Verdict(round(bounded, 1)))
        return self._verdict

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from checking the same."""
        with ExitStack() as stack:
            with suppress(OSError):
                self.path.parent.mkdir(mode=0o700, exist_ok=True)
                stack.enter_context(file_lock(self._lock))
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


def tells(segment: Spectrum, reference: Spectrum) -> bool:
    """Whether `reference`, what ONNX Runtime found in `segment`, is enough to judge by."""
    power = _power(reference)
    return math.isfinite(power) and power > _FAINT * _power(segment)


def snr_db(segment: Spectrum, reference: Spectrum, estimate: Spectrum) -> float:
    """How far below the `reference` its difference to `estimate` is; minus infinity for what is no number."""
    noise = _power(reference.astype(np.float64) - estimate)
    if not math.isfinite(noise):
        return -math.inf
    level = max(_power(reference), _FLOOR * _power(segment))
    return 10 * math.log10(level / noise) if noise else math.inf


def _power(values: NDArray[np.floating]) -> float:
    exact = values.astype(np.float64).ravel()
    return float(exact @ exact)


def _folder_for(models: Path) -> Path:
    """Where records are kept: with the `models`, or, where those are read only, in a folder that only this user has.

    Without a record each process would check again, and a check that nobody survives would never come to an end.
    """
    if os.access(models, os.W_OK | os.X_OK):
        return models
    with suppress(OSError):
        own = Path(tempfile.gettempdir()) / f"uvr-self-checks-{os.geteuid()}"
        with suppress(FileNotFoundError):
            found = own.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                return models
        return own
    return models


def _processor() -> str:
    """The processor's name, as exactly as the system tells it: on x86-64 in words, on ARM in numbers."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        telling = {line for line in lines if line.startswith(("model name", "CPU implementer", "CPU part"))}
        if telling:
            return " ".join(sorted(line.partition(":")[2].strip() for line in telling))
    return platform.processor() or platform.machine()
