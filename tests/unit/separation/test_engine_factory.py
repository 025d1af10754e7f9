"""Which engine a model gets, decided before anything heavy is loaded."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from uvr.errors import PermanentError
from uvr.models import store
from uvr.models.audio_separator import DOWNLOAD_CHECKS, VR_MODELS, VR_PARAMETERS, ensure_model_files, find_vr_model
from uvr.models.catalogue import MdxParameters, known_model
from uvr.net.model_sources import ModelSources
from uvr.separation import devices, engine_factory
from uvr.separation.engine_factory import (
    AudioSeparatorEngineFactory,
    MdxEngineFactory,
    RoformerEngineFactory,
    choose_engine,
)
from uvr.separation.native.bindings import LibraryError
from uvr.separation.roformer.self_check import KernelsRefusedError

PARAMETERS = MdxParameters(compensate=1.0, dim_f=2048, dim_t=256, n_fft=6144, primary_stem="Vocals")


@pytest.fixture
def with_audio_separator(monkeypatch):
    """As in .venv-library, where audio-separator is installed."""
    monkeypatch.setattr(engine_factory, "require_audio_separator", lambda _name: None)


@pytest.fixture
def own_mdx_model(tmp_path, monkeypatch):
    path = tmp_path / "own.onnx"
    path.write_bytes(b"a network")
    monkeypatch.setattr(store, "parameters_of", lambda _path: PARAMETERS)
    return "own"


def test_an_mdx_model_gets_the_services_own_engine(own_mdx_model, tmp_path):
    factory = choose_engine(own_mdx_model, tmp_path, threads=3, device="cpu")
    assert factory == MdxEngineFactory(tmp_path / "own.onnx", PARAMETERS, threads=3, device="cpu")


@pytest.mark.usefixtures("with_audio_separator")
def test_an_mdx_model_gets_audio_separator_on_request(own_mdx_model, tmp_path):
    factory = choose_engine(own_mdx_model, tmp_path, engine="audio-separator", threads=3)
    assert isinstance(factory, AudioSeparatorEngineFactory)
    assert (factory.file, factory.threads) == (tmp_path / "own.onnx", 3)
    assert pickle.loads(pickle.dumps(factory)) == factory


@pytest.fixture
def with_kernels(monkeypatch):
    """As after `make setup` with a C compiler."""
    monkeypatch.setattr(engine_factory, "kernels_are_built", lambda: True)


def write_roformer(folder, name):
    (folder / name).write_bytes(b"a checkpoint")
    (folder / name).with_suffix(".yaml").write_text("model:\n  freqs_per_bands: !!python/tuple [2, 3]\n")


@pytest.mark.usefixtures("with_kernels")
@pytest.mark.parametrize("name", ["own.ckpt", "own.safetensors", "own.pth"])
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_roformer_gets_the_services_own_engine_on_cpus(name, device, tmp_path):
    write_roformer(tmp_path, name)
    factory = choose_engine(name, tmp_path, threads=3, device=device)
    assert isinstance(factory, RoformerEngineFactory)
    assert factory.files == (tmp_path / name, tmp_path / "own.yaml")
    assert (factory.threads, factory.device) == (3, device)
    assert pickle.loads(pickle.dumps(factory)) == factory
    assert choose_engine(str(tmp_path / name), Path("/elsewhere"), threads=3, device=device) == factory


class FakeEngine(SimpleNamespace):
    """What a factory makes: `name` is what made it, `provider` what it runs on."""


@pytest.fixture
def own_roformer(tmp_path, monkeypatch):
    """A function that makes the engine of a RoFormer; `library` is the provider of audio-separator, "" without it."""
    write_roformer(tmp_path, "own.ckpt")
    facts = {"instruction_set": "AVX2", "precision": "float32", "terms": 0}
    kernels = lambda *_, **__: FakeEngine(name="kernels", provider="cpu", **facts)  # noqa: E731
    monkeypatch.setattr("uvr.separation.roformer.engine.RoformerEngine", kernels)

    def engine(library, *, device="auto", torch_for_cards=True, card=True, **options):
        monkeypatch.setattr(devices, "torch_may_have_card", lambda: torch_for_cards)
        monkeypatch.setattr(devices, "has_nvidia_card", lambda: card)
        fallback = (lambda: FakeEngine(name="library", provider=library)) if library else None
        return RoformerEngineFactory(tmp_path / "own.ckpt", tmp_path / "own.yaml", 2, device, fallback, **options)()

    return engine


@pytest.mark.parametrize(
    ("library", "options", "chosen"),
    [
        ("cuda", {}, "library"),
        ("cpu", {}, "kernels"),  # torch for cards is installed, and there is none
        ("cuda", {"torch_for_cards": False}, "kernels"),
        ("cuda", {"device": "cpu"}, "kernels"),
        ("", {}, "kernels"),
        ("", {"card": False}, "kernels"),
    ],
)
def test_a_roformer_runs_on_a_card_if_audio_separator_finds_one(own_roformer, library, options, chosen):
    with capture_logs() as logs:
        assert own_roformer(library, **options).name == chosen
    is_said = "network.card_not_used" in [line["event"] for line in logs]
    assert is_said == (library == "" and options.get("card", True))


@pytest.mark.parametrize("error", [LibraryError("not built"), KernelsRefusedError("12 dB")])
def test_kernels_that_cannot_be_used_leave_a_roformer_to_audio_separator(own_roformer, monkeypatch, error):
    def refused(*_, **__):
        raise error

    monkeypatch.setattr("uvr.separation.roformer.engine.RoformerEngine", refused)
    assert own_roformer("cpu", torch_for_cards=False).name == "library"
    for library in ("cpu", ""):
        with pytest.raises(PermanentError) as failure:
            own_roformer(library, torch_for_cards=False, precision="bfloat16")
        assert failure.value.message == (
            f"INFERENCE_PRECISION=bfloat16, but the kernels cannot compute own.ckpt in it: {error}. Set it to auto or "
            "float32 (docs/devices.md)."
        )
    with pytest.raises(PermanentError, match=f"own.ckpt cannot be run: {error}. audio-separator can run it"):
        own_roformer("")


@pytest.mark.usefixtures("with_kernels", "with_audio_separator")
@pytest.mark.parametrize("options", [{"engine": "audio-separator"}, {"device": "cuda"}])
def test_audio_separator_runs_a_roformer_on_request_and_on_cards(options, tmp_path):
    write_roformer(tmp_path, "own.ckpt")
    assert isinstance(choose_engine("own.ckpt", tmp_path, **options), AudioSeparatorEngineFactory)


@pytest.mark.usefixtures("with_audio_separator")
def test_audio_separator_runs_a_roformer_if_the_kernels_are_not_built(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_factory, "kernels_are_built", lambda: False)
    write_roformer(tmp_path, "own.ckpt")
    assert isinstance(choose_engine("own.ckpt", tmp_path), AudioSeparatorEngineFactory)


def test_a_checkpoint_without_its_yaml_file_names_the_file(tmp_path):
    for name in ("own.ckpt", "other.safetensors"):
        (tmp_path / name).write_bytes(b"a checkpoint")
        with pytest.raises(PermanentError) as refused:
            choose_engine(name, tmp_path)
        yaml = Path(name).with_suffix(".yaml").name
        assert refused.value.message == (
            f"{name} needs the YAML file that describes its network: put it beside the model, as {yaml} "
            "(docs/models.md)."
        )
        with pytest.raises(PermanentError, match=yaml):
            choose_engine(str(tmp_path / name), Path("/elsewhere"))


@pytest.mark.parametrize("name", ["own.ckpt", "vocals_mel_band_roformer.ckpt"])
def test_a_yaml_file_that_cannot_be_read_is_named(name, tmp_path):
    (tmp_path / name).write_bytes(b"a checkpoint")
    (tmp_path / name).with_suffix(".yaml").write_text("model: [")
    with pytest.raises(PermanentError, match=r"\.yaml cannot be read as YAML: .* in line"):
        choose_engine(name, tmp_path)


@pytest.mark.usefixtures("with_audio_separator")
def test_another_pth_file_says_what_a_roformer_needs(tmp_path):
    (tmp_path / "own.pth").write_bytes(b"a checkpoint")
    with pytest.raises(
        PermanentError, match="If it is a RoFormer, put the YAML file that describes it beside it, as own"
    ):
        choose_engine("own.pth", tmp_path)


@pytest.mark.usefixtures("with_kernels")
def test_a_roformer_of_the_catalogue_is_known_before_it_is_downloaded(tmp_path):
    name = "model_bs_roformer_ep_317_sdr_12.9755.ckpt"
    assert engine_factory.engine_of(name, tmp_path, "auto", "auto") == "roformer"
    assert engine_factory.engine_of("MDX23C-8KFFT-InstVoc_HQ.ckpt", tmp_path, "auto", "auto") == "audio-separator"


@pytest.mark.usefixtures("with_audio_separator")
@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("htdemucs_ft.yaml", "auto"),
        ("model_bs_roformer_ep_317_sdr_12.9755.ckpt", "audio-separator"),
        ("new_one.ckpt", "auto"),
    ],
)
def test_models_of_several_files_go_to_audio_separator_by_name(name, engine, tmp_path):
    for file in model.files if (model := known_model(name)) else ():
        (tmp_path / file.name).touch()
    factory = choose_engine(name, tmp_path, engine=engine, sources=ModelSources(("http://mirror.example",)))
    assert factory == AudioSeparatorEngineFactory(name, tmp_path, None, ModelSources(("http://mirror.example",)))


@pytest.mark.parametrize("name", ["htdemucs_ft.yaml", "UVR-DeNoise-Lite", "own.pth"])
def test_the_mdx_engine_refuses_other_architectures(name, tmp_path):
    with pytest.raises(PermanentError, match="SEPARATION_ENGINE=auto"):
        choose_engine(name, tmp_path, engine="mdx")


@pytest.mark.skipif(importlib.util.find_spec("audio_separator") is not None, reason="audio-separator is installed here")
def test_a_missing_audio_separator_is_reported_with_the_remedy(tmp_path):
    with pytest.raises(PermanentError, match="make setup-library"):
        choose_engine("UVR-DeNoise-Lite", tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "UVR-DeNoise-Lite",
        "uvr-denoise-lite.pth",
        "UVR-DeNoise-Lite by FoxJoy",
        "VR Arch Single Model v5: UVR-DeNoise-Lite by FoxJoy",
    ],
)
def test_a_vr_model_is_found_by_any_of_its_names(name):
    model = find_vr_model(name)
    assert model is not None
    assert model.file == "UVR-DeNoise-Lite.pth"


def test_a_vr_model_is_found_by_each_of_its_titles():
    assert all(find_vr_model(model.title) is model for model in VR_MODELS.values())


def test_an_unknown_name_is_no_vr_model():
    assert find_vr_model("UVR-MDX-NET-Inst_HQ_4") is None


def test_a_vr_file_with_an_unknown_hash_is_refused(tmp_path):
    (tmp_path / "UVR-DeNoise-Lite.pth").write_bytes(b"something else")
    with pytest.raises(PermanentError, match="delete it and download it again"):
        ensure_model_files(VR_MODELS["UVR-DeNoise-Lite"], tmp_path)


def test_the_tables_contain_the_keys_that_audio_separator_reads():
    assert all({"vr_model_param", "primary_stem"} <= parameters.keys() for parameters in VR_PARAMETERS.values())
    assert {"demucs_download_list", "mdx23c_download_list", "roformer_download_list"} <= DOWNLOAD_CHECKS.keys()
