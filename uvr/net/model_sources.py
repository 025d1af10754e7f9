"""Where the files of models can be downloaded, and in which order the places are tried: MODEL_SOURCES.

A model of the catalogue lists its public places by name. MODEL_SOURCES chooses among them and orders them, and may also
name mirrors by their URLs: any web server that has the files in one folder. A place that does not have a model is left
out. HF_ENDPOINT, which the tools of Hugging Face read too, replaces the address of Hugging Face.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PUBLIC_PLACES = ("github", "huggingface", "modelscope")
"""The names of the public places, in the order in which they are tried."""

HUGGING_FACE = "https://huggingface.co"


@dataclass(frozen=True)
class ModelSources:
    """The places to download from, in order: names of PUBLIC_PLACES, or URLs of mirrors."""

    places: tuple[str, ...] = PUBLIC_PLACES
    hf_endpoint: str = HUGGING_FACE

    def urls(self, file: str, public_urls: Mapping[str, str]) -> list[str]:
        """The URLs of the model file `file`. `public_urls` has its URL in each public place that has it."""
        found = [
            f"{place.rstrip('/')}/{file}" if _is_mirror(place) else public_urls.get(place, "")
            for place in dict.fromkeys(self.places)
        ]
        return [url.replace(HUGGING_FACE, self.hf_endpoint.rstrip("/"), 1) for url in found if url]

    @property
    def has_mirrors(self) -> bool:
        """Whether there is a place that may have files which no public place has."""
        return any(map(_is_mirror, self.places))


PUBLIC_SOURCES = ModelSources()
"""The public places only."""


def parse_places(text: str) -> list[str]:
    """The places in MODEL_SOURCES, separated by commas."""
    places = [part.strip() for part in text.split(",") if part.strip()]
    if not places:
        raise ValueError(f"name at least one place: {', '.join(PUBLIC_PLACES)}, or the URL of a mirror")
    for place in places:
        if place not in PUBLIC_PLACES and not place.startswith(("http://", "https://")):
            raise ValueError(f"{place} is neither one of {', '.join(PUBLIC_PLACES)} nor a URL with http:// or https://")
    return places


def _is_mirror(place: str) -> bool:
    return "://" in place
