"""The YAML file beside a RoFormer checkpoint: what the network looks like, and how songs are cut for it.

The keys below `model:` are those of the constructors that audio-separator 0.47.1 has (`bs_roformer.py` and
`mel_band_roformer.py` in uvr_lib_v5/roformer). Each is used, or known to matter in training only; any other key is
refused by its name, because a network that differs in an unknown way would give wrong stems.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from uvr.errors import PermanentError
from uvr.models.stem_names import checkpoint_stems
from uvr.separation.estimates import Residual

Kind = Literal["bs_roformer", "mel_band_roformer"]

# Every size has a limit well above those of published models, so that a damaged file cannot ask for all memory.
Size = Annotated[int, Field(ge=1, le=8192)]
Depth = Annotated[int, Field(ge=1, le=64)]
StemName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
MAX_CHUNK_NUMBERS = 1 << 29
"""The features of a chunk, and the masks of all stems, may have so many numbers; published models need a tenth."""


class NetworkShape(BaseModel):
    """The section `model:`. Sizes are numbers of values, depths numbers of layers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dim: Size
    depth: Depth
    stereo: bool = False
    num_stems: Annotated[int, Field(ge=1, le=16)] = 2
    time_transformer_depth: Depth = 2
    freq_transformer_depth: Depth = 2
    linear_transformer_depth: Annotated[int, Field(ge=0, le=64)] = 0
    freqs_per_bands: Annotated[tuple[Size, ...], Field(min_length=2, max_length=512)] | None = None
    """BS-RoFormer: the number of bins in each band."""
    num_bands: Annotated[int, Field(ge=8, le=512)] | None = None
    """Mel-Band RoFormer: the number of bands, which overlap."""
    dim_head: Annotated[int, Field(ge=2, le=1024, multiple_of=2)] = 64
    heads: Annotated[int, Field(ge=1, le=64)] = 8
    mlp_expansion_factor: Annotated[int, Field(ge=1, le=16)] = 4
    mask_estimator_depth: Annotated[int, Field(ge=1, le=8)] | None = None
    sample_rate: Annotated[int, Field(ge=8000, le=192_000)] = 44_100
    stft_n_fft: Annotated[int, Field(ge=64, le=65_536, multiple_of=2)] = 2048
    stft_hop_length: Annotated[int, Field(ge=16, le=65_536)] = 512
    stft_win_length: Annotated[int, Field(ge=16, le=65_536)] = 2048

    # The bands are normalized, so the scale of the spectrum makes no difference.
    stft_normalized: bool = False
    # audio-separator's networks take these and do nothing with them.
    skip_connection: bool = False
    zero_dc: bool = True
    match_input_audio_length: bool = False
    dim_freqs_in: int | None = None

    # What matters in training only, or says how torch computes the same.
    attn_dropout: float = 0
    ff_dropout: float = 0
    flash_attn: bool = True
    sage_attention: bool = False
    use_torch_checkpoint: bool = False
    multi_stft_resolution_loss_weight: float = 1
    multi_stft_resolutions_window_sizes: Any = None
    multi_stft_hop_size: int = 147
    multi_stft_normalized: bool = False

    @model_validator(mode="after")
    def _is_one_kind(self) -> NetworkShape:
        if (self.freqs_per_bands is None) == (self.num_bands is None):
            raise ValueError("needs either freqs_per_bands (BS-RoFormer) or num_bands (Mel-Band RoFormer)")
        if self.freqs_per_bands and sum(self.freqs_per_bands) != self.bins:
            raise ValueError(f"freqs_per_bands has {sum(self.freqs_per_bands)} bins, but stft_n_fft gives {self.bins}")
        if self.num_bands and self.linear_transformer_depth:
            raise ValueError("linear_transformer_depth belongs to BS-RoFormer, which has no num_bands")
        if not self.stft_hop_length <= self.stft_win_length <= self.stft_n_fft:
            raise ValueError("stft_hop_length, stft_win_length and stft_n_fft must not become smaller in this order")
        return self

    @property
    def kind(self) -> Kind:
        """Which of the two networks it is."""
        return "bs_roformer" if self.freqs_per_bands else "mel_band_roformer"

    @property
    def bins(self) -> int:
        """The number of bins of a spectrum."""
        return self.stft_n_fft // 2 + 1

    @property
    def channels(self) -> int:
        """The number of audio channels."""
        return 2 if self.stereo else 1

    @property
    def mask_layers(self) -> int:
        """Linear layers in a mask estimator; the two networks count `mask_estimator_depth` differently."""
        if self.kind == "bs_roformer":
            return self.mask_estimator_depth or 2
        return (self.mask_estimator_depth or 1) + 1


@dataclass(frozen=True)
class RoformerConfiguration:
    """All that is known about a model beside its weights."""

    shape: NetworkShape
    stems: tuple[str, ...]
    """The stems that the network estimates, by the names of its authors."""
    rest: str
    """What its authors call the rest of the song beside a single stem; "" if they do not say."""
    segment_frames: int
    """`dim_t`: the frames of a chunk."""
    overlap: int
    """How many chunks cover each sample."""

    @property
    def residual(self) -> Residual | None:
        """What the network leaves over, if its authors have a name for that; see `remainder` for all other cases."""
        return Residual(self.rest, self.stems[0]) if self.rest else None

    @property
    def chunk_samples(self) -> int:
        """The samples of a chunk."""
        return self.shape.stft_hop_length * (self.segment_frames - 1)


class _Training(BaseModel):
    instruments: Annotated[tuple[StemName, ...], Field(min_length=1, max_length=16)]
    target_instrument: StemName | None = None


class _Inference(BaseModel):
    dim_t: Annotated[int, Field(ge=2, le=100_000)]
    num_overlap: Annotated[int, Field(ge=1, le=256)] = 8


class _Document(BaseModel):
    model: NetworkShape
    training: _Training
    inference: _Inference

    @model_validator(mode="after")
    def _has_chunks_that_fit(self) -> _Document:
        shape = self.model
        features = (shape.num_bands or len(shape.freqs_per_bands or ())) * shape.dim
        masks = 2 * shape.num_stems * shape.channels * shape.bins
        if self.inference.dim_t * max(features, masks) > MAX_CHUNK_NUMBERS:
            raise ValueError(f"a chunk of {self.inference.dim_t} frames (inference.dim_t) is too large")
        return self


def read_configuration(document: Any, name: str) -> RoformerConfiguration:
    """The configuration in a parsed YAML file called `name`.

    Raises `PermanentError` with a sentence that names the file and the key.
    """
    if not isinstance(document, Mapping):
        raise PermanentError(f"{name} is not the description of a RoFormer: it has no section `model:`.")
    try:
        found = _Document.model_validate(document)
    except ValidationError as error:
        raise PermanentError(f"{name} cannot be used: {_first_fault(error)}.") from None
    named = checkpoint_stems(found.training.instruments, found.training.target_instrument)
    stems = named.estimated
    if len(set(stems)) < len(stems):
        raise PermanentError(f"{name} cannot be used: training.instruments has the same name twice.")
    if found.model.num_stems != len(stems):
        raise PermanentError(
            f"{name} cannot be used: num_stems is {found.model.num_stems}, but `training:` names {', '.join(stems)}."
        )
    return RoformerConfiguration(found.model, stems, named.rest, found.inference.dim_t, found.inference.num_overlap)


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_context=False)[0]
    place = "".join(each if each.isprintable() else "?" for each in ".".join(map(str, fault["loc"]))[:100])
    if fault["type"] == "extra_forbidden":
        return f"the service does not know the key {place}"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
