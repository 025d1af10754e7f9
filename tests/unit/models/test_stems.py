"""The stems of a model are known from the files beside its network, and nothing in them is run."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from pathlib import Path

import pytest

from uvr.models import audio_separator, catalogue
from uvr.models.stems import stems_of_model, with_rest

DESCRIPTION = """
audio: {{sample_rate: 44100}}
model:
  freqs_per_bands: !!python/tuple
  - 2
  - 4
training:
  instruments: {instruments}
  target_instrument: {target}
"""


def describe(folder: Path, instruments: str, target: str = "null", name: str = "own") -> None:
    (folder / f"{name}.ckpt").write_bytes(b"a network")
    (folder / f"{name}.yaml").write_text(DESCRIPTION.format(instruments=instruments, target=target))


@pytest.mark.parametrize(
    ("instruments", "target", "stems"),
    [
        ("[vocals, other]", "vocals", ("vocals", "instrumental")),
        ("[vocals, other]", "null", ("vocals", "instrumental")),
        ("[other, vocals]", "vocals", ("vocals", "instrumental")),
        ("[Vocals, Instrumental]", "Instrumental", ("instrumental", "vocals")),
        ("[vocals]", "vocals", ("vocals", "instrumental")),
        ("[1, 2]", "1", ("1", "2")),
        ("[]", "null", ()),
        ("[Instrumental]", "Instrumental", ("instrumental", "vocals")),
        ("[vocals, music]", "vocals", ("vocals", "instrumental")),
        ("[karaoke, other]", "karaoke", ("karaoke", "other")),
        ("[vocals, drums, bass]", "drums", ("drums", "no_drums")),
        ("[vocals, drums, bass]", "vocals", ("vocals", "instrumental")),
        (
            "[drums, bass, other, vocals, guitar, piano]",
            "null",
            ("drums", "bass", "other", "vocals", "guitar", "piano", "instrumental"),
        ),
        ("[dry, other]", "dry", ("dry", "other")),
        ("[Lead-Vocals, Backing Vocals]", "null", ("lead_vocals", "backing_vocals")),
        ("[kick, snare, toms]", "null", ("kick", "snare", "toms")),
        ("[drums, bass, other, vocals]", "null", ("drums", "bass", "other", "vocals", "instrumental")),
    ],
)
def test_the_yaml_file_beside_a_checkpoint_gives_its_stems(
    tmp_path: Path, instruments: str, target: str, stems: tuple[str, ...]
) -> None:
    describe(tmp_path, instruments, target)
    assert stems_of_model("own.ckpt", tmp_path) == stems
    assert stems_of_model(f"{tmp_path}/own.ckpt", tmp_path / "elsewhere") == stems


def test_the_yaml_file_wins_over_the_catalogue(tmp_path: Path) -> None:
    name = "model_bs_roformer_ep_317_sdr_12.9755"
    assert stems_of_model(name, tmp_path) == ("vocals", "instrumental")
    describe(tmp_path, "[speech, music]", name=name)
    assert stems_of_model(name, tmp_path) == ("speech", "music")


@pytest.mark.parametrize(
    "text",
    ["", "training: 5", "training: {instruments: 5}", "[" * 600, "a: *b", "\x00", "x: &x [*x]"],
    ids=["empty", "no map", "no list", "nested", "no anchor", "control character", "recursive"],
)
def test_a_yaml_file_that_describes_nothing_gives_no_stems(tmp_path: Path, text: str) -> None:
    (tmp_path / "own.ckpt").touch()
    (tmp_path / "own.yaml").write_text(text)
    assert stems_of_model("own.ckpt", tmp_path) == ()


def test_no_code_in_a_yaml_file_is_run(tmp_path: Path) -> None:
    describe(
        tmp_path, f"!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{tmp_path}/run']]"
    )
    assert stems_of_model("own.ckpt", tmp_path) == ()
    assert not (tmp_path / "run").exists()


def write_network(path: Path, content: object) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content, protocol=2))


@pytest.mark.parametrize("number", [2, 4, 6])
def test_a_demucs_network_lists_its_sources(tmp_path: Path, number: int) -> None:
    sources = ["drums", "bass", "other", "vocals", "guitar", "piano"][:number]
    write_network(tmp_path / "abc-0123.th", {"klass": "HTDemucs", "kwargs": {"sources": sources, "channels": 8}})
    (tmp_path / "own.yaml").write_text("models: ['abc']")
    stems = stems_of_model("own.yaml", tmp_path)
    assert len(stems) == (2 if number == 2 else number + 1)
    assert {"vocals", "instrumental"} <= set(stems)


def test_a_pickle_is_listed_and_not_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "loaded",)

    write_network(tmp_path / "abc.th", {"trap": Trap(), "sources": ["a", "b", "c", "d"]})
    (tmp_path / "own.yaml").write_text("models: ['abc']")
    assert stems_of_model("own.yaml", tmp_path) == ("vocals", "drums", "bass", "other", "instrumental")
    assert not (tmp_path / "loaded").exists()


def test_a_bag_reaches_no_file_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    write_network(tmp_path / "abc.th", {"sources": ["a", "b", "c", "d"]})
    (tmp_path / "models" / "own.yaml").write_text("models: ['../abc']")
    assert stems_of_model("own.yaml", tmp_path / "models") == ()


def test_an_mdx_file_goes_by_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = catalogue.MdxParameters(1.0, 2048, 256, 4096, "Drums")
    monkeypatch.setitem(catalogue.PARAMETERS, hashlib.md5(b"abc").hexdigest(), parameters)
    (tmp_path / "own.onnx").write_bytes(b"abc")
    assert stems_of_model("own", tmp_path) == ("drums", "no_drums")
    assert stems_of_model("other", tmp_path) == ()


@pytest.mark.parametrize(
    ("primary", "stems"),
    [("No Echo", ("no_echo", "echo")), ("Noise", ("noise", "no_noise")), ("Vocals", ("vocals", "instrumental"))],
)
def test_a_vr_file_goes_by_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, primary: str, stems: tuple[str, ...]
) -> None:
    hashed = hashlib.md5(b"abc").hexdigest()
    monkeypatch.setitem(audio_separator.VR_PARAMETERS, hashed, {"primary_stem": primary})  # type: ignore[arg-type]
    (tmp_path / "own.pth").write_bytes(b"abc")
    assert stems_of_model("own.pth", tmp_path) == stems


def test_while_the_files_are_missing_the_catalogue_answers(tmp_path: Path) -> None:
    assert stems_of_model("htdemucs_6s", tmp_path)[-3:] == ("piano", "other", "instrumental")
    assert stems_of_model("UVR-MDX-NET Inst HQ 4", tmp_path) == ("instrumental", "vocals")
    assert stems_of_model("UVR-DeNoise-Lite.pth", tmp_path) == ("noise", "no_noise")


def test_two_stems_never_have_the_same_name() -> None:
    assert with_rest(["Lead Vocals", "lead-vocals", "lead vocals!"]) == (
        "lead_vocals",
        "lead_vocals_2",
        "lead_vocals_3",
    )
