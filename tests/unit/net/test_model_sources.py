"""MODEL_SOURCES and HF_ENDPOINT: which URLs are tried for a file, and in which order."""

from __future__ import annotations

import pytest

from config import SettingsError, read_settings
from uvr.models.catalogue import CATALOGUE, find_model
from uvr.net.model_sources import PUBLIC_SOURCES, ModelSources

HQ_3 = find_model("UVR-MDX-NET-Inst_HQ_3")
GITHUB = f"https://github.com/TRvlvr/model_repo/releases/download/all_public_uvr_models/{HQ_3.file}"
HUGGING_FACE = f"https://huggingface.co/Politrees/UVR_resources/resolve/main/models/MDXNet/{HQ_3.file}"
MODELSCOPE = f"https://modelscope.cn/models/pengzhendong/uvr-mdx-net/resolve/master/{HQ_3.file}"


def urls(**environment: str) -> list[str]:
    with pytest.MonkeyPatch.context() as context:
        for name, value in environment.items():
            context.setenv(name, value)
        return read_settings().sources_of_models.urls(HQ_3.file, HQ_3.places)


def test_public_places_are_tried_in_their_order() -> None:
    assert urls() == [GITHUB, HUGGING_FACE, MODELSCOPE]


def test_model_sources_chooses_and_orders_the_places_and_adds_mirrors() -> None:
    chosen = urls(MODEL_SOURCES="modelscope, https://mirror.example.org/uvr/ ,github")
    assert chosen == [MODELSCOPE, f"https://mirror.example.org/uvr/{HQ_3.file}", GITHUB]


def test_hf_endpoint_replaces_the_address_of_hugging_face() -> None:
    chosen = urls(MODEL_SOURCES="huggingface", HF_ENDPOINT="https://hf-mirror.example/")
    assert chosen == [HUGGING_FACE.replace("https://huggingface.co", "https://hf-mirror.example")]


def test_model_base_url_is_the_only_place_if_it_is_set() -> None:
    chosen = urls(MODEL_BASE_URL="https://mirror.example.org", MODEL_SOURCES="github")
    assert chosen == [f"https://mirror.example.org/{HQ_3.file}"]


def test_a_place_that_does_not_have_the_file_is_left_out() -> None:
    hq_4 = find_model("UVR-MDX-NET-Inst_HQ_4")
    assert len(PUBLIC_SOURCES.urls(hq_4.file, hq_4.places)) == 2
    assert ModelSources(("modelscope",)).urls(hq_4.file, hq_4.places) == []


def test_every_public_model_is_in_two_public_places_at_least() -> None:
    mdx = [model for model in CATALOGUE.values() if model.architecture == "MDX-Net" and model.places]
    assert len(mdx) == 30
    assert all(model.places.keys() >= {"github", "huggingface"} for model in mdx)
    assert sum("modelscope" in model.places for model in mdx) == 11


@pytest.mark.parametrize("text", ["gitlab", "mirror.example.org", ",", "ftp://mirror.example.org"])
def test_an_unknown_place_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("MODEL_SOURCES", text)
    with pytest.raises(SettingsError, match="MODEL_SOURCES"):
        read_settings()
