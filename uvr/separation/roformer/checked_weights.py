"""The packed weights of a model in the fastest precision that its self-check allows (INFERENCE_PRECISION).

A model may be refused in bfloat16 and used in float32. Later starts know that from the record of the check, and do not
convert it for bfloat16 again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from uvr.errors import PermanentError
from uvr.models.packed_files import PackedFilesPolicy
from uvr.separation.native import bindings
from uvr.separation.native.self_check import Record, Verdict, checked
from uvr.separation.precision import Precision, PrecisionChoice, precision_of, terms_to_try
from uvr.separation.roformer.packed_weights import (
    Conversion,
    PackedWeights,
    converted_weights,
    packed_weights,
)
from uvr.separation.roformer.self_check import KernelsRefusedError, ReferenceComparison

log = structlog.get_logger()


@dataclass(frozen=True)
class CheckedWeights:
    """Opens the weights of one model. `conversion` makes those for so many terms (`precision`)."""

    model: Path
    description: Path
    packed_files: PackedFilesPolicy
    conversion: Callable[[int], Conversion]
    threads: int = 0

    def open(self, choice: PrecisionChoice) -> PackedWeights:
        """The weights that the kernels use; they are converted and checked if that was not done yet.

        Raises `KernelsRefusedError` if they agree with `reference` in none of the precisions that `choice` allows,
        `PermanentError` if it demands bfloat16, and the errors of `packed_weights`.
        """
        *faster, last = terms_to_try(choice, bindings.load().best.name)
        for terms in faster:
            verdict = recorded_verdict(self.model, self.description, self.packed_files, precision_of(terms))
            if not verdict.is_refusal:
                weights, verdict = self._checked(terms)
                if verdict.agrees:
                    return weights
            log.warning("network.precision_refused", precision=precision_of(terms), reason=verdict.sentence)
        weights, verdict = self._checked(last)
        if verdict.agrees:
            return weights
        if choice == "bfloat16":
            raise PermanentError(
                f"INFERENCE_PRECISION=bfloat16, but the kernels cannot compute {self.model.name} in it: "
                f"{verdict.sentence}. Set it to auto or float32 (docs/devices.md)."
            )
        raise KernelsRefusedError(f"the kernels cannot be used for {self.model.name}: {verdict.sentence}")

    def _checked(self, terms: int) -> tuple[PackedWeights, Verdict]:
        weights = packed_weights(self.model, self.description, lambda: self.conversion(terms), self.packed_files, terms)
        comparison = ReferenceComparison(self.model, self.description, self.threads, self.packed_files, terms)
        record = Record(self.model, weights.fingerprint.encode(), bindings.load(), precision_of(terms))
        return weights, checked(record, lambda _tries: comparison)


def recorded_verdict(model: Path, description: Path, packed_files: PackedFilesPolicy, precision: Precision) -> Verdict:
    """What earlier checks in this precision have found; makes none.

    A model that was never converted, or only by an older version, has no verdict.
    """
    for weights in converted_weights(model, description, packed_files).values():
        return Record(model, weights.fingerprint.encode(), bindings.load(), precision).read()
    return Verdict(precision=precision)
