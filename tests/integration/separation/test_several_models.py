"""Songs with different models through one separator: real networks, whose answers are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.support.audio import noise, read_audio, write_audio
from tests.support.http_server import Answer, HttpServer
from tests.support.networks import write_model
from uvr.errors import CancelledError, PermanentError, TransientError
from uvr.net.model_sources import ModelSources
from uvr.separation.engine import Separation
from uvr.separation.model_library import ModelLibrary
from uvr.separation.progress import ignore_progress, never_cancelled
from uvr.separation.separator import Separator

FACTORS = {"half.onnx": 0.5, "quarter.onnx": 0.25, "tenth.onnx": 0.1}
"""The share of the mixture that each model gives as vocals."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, factor in FACTORS.items():
        write_model(folder / name, factor=factor)
    write_model(folder / "broken.onnx").write_bytes(b"no network")
    return folder


@pytest.fixture(scope="module")
def separator(folder: Path) -> Iterator[Separator]:
    library = ModelLibrary(folder, threads=1)
    opened = Separator(library.default_engine("half"), name="half.onnx", library=library)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_audio(tmp_path_factory.mktemp("song") / "song.wav", noise(1), codec="pcm_f32le")


def separated(
    separator: Separator, song: Path, folder: Path, models: Sequence[str] = (), **options: object
) -> Separation:
    folder.mkdir()
    limits = {"max_seconds": 60, "timeout_s": 60, "on_progress": ignore_progress, "cancelled": never_cancelled}
    return separator.separate(song, folder, folder, models=models, **{**limits, **options})  # type: ignore[arg-type]


def share_of_vocals(made: Separation, song: Path) -> float:
    """The amplitude of the vocals in that of the song."""
    vocals, mixture = read_audio(made.stems["vocals"]), read_audio(song)
    return float((vocals * mixture).sum() / np.square(mixture).sum())


def test_each_song_gets_the_stems_of_its_own_model(separator: Separator, song: Path, tmp_path: Path) -> None:
    made: list[Separation] = []
    for number, models in enumerate([[], ["quarter.onnx"], ["tenth.onnx"], ["half.onnx"], ["quarter.onnx"]]):
        made.append(separated(separator, song, tmp_path / str(number), models))
    shares = [share_of_vocals(each, song) for each in made]
    assert shares == pytest.approx([0.5, 0.25, 0.1, 0.5, 0.25], rel=0.01)
    assert [each.load_s > 0 for each in made[1:]] == [True, True, False, False]
    assert separator.loaded_models == ["tenth.onnx", "half.onnx", "quarter.onnx"]
    assert made[0].fingerprint == made[3].fingerprint == separator.fingerprint() == separator.fingerprint(["half.onnx"])
    assert len({each.fingerprint for each in made}) == 3


def test_the_default_model_may_be_elsewhere_and_lack_its_suffix(folder: Path, song: Path, tmp_path: Path) -> None:
    """As a task names it that was accepted before the first processor had told its models."""
    library = ModelLibrary(tmp_path, threads=1)
    separator = Separator(library.default_engine(str(folder / "half.onnx")), name="half.onnx", library=library)
    try:
        assert separator.missing(["half"]) == []
        made = separated(separator, song, tmp_path / "stems", ["half"])
        assert share_of_vocals(made, song) == pytest.approx(0.5, rel=0.01)
        assert separator.loaded_models == ["half.onnx"]
        assert separator.fingerprint(["half"]) == made.fingerprint
    finally:
        separator.close()


def test_an_ensemble_runs_one_network_after_the_other(separator: Separator, song: Path, tmp_path: Path) -> None:
    shares: list[float] = []
    models = ["half.onnx", "quarter.onnx"]
    made = separated(separator, song, tmp_path / "stems", models, on_progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert any(0.4 < share < 0.6 for share in shares)
    assert separator.loaded_models[-2:] == models
    assert made.fingerprint == separator.fingerprint(models) != separator.fingerprint(models[::-1])


def test_a_broken_model_fails_its_own_song_only(separator: Separator, song: Path, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="broken"):
        separated(separator, song, tmp_path / "broken", ["broken.onnx"])
    assert separated(separator, song, tmp_path / "half").provider == "cpu"
    assert not list((tmp_path / "broken").glob("*.wav"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("UVR-MDX-NET-Inst_HQ_3", "is not on this processor"),
        ("../half.onnx", "without a folder"),
        (".half.onnx", "without a folder"),
    ],
)
def test_a_model_that_is_not_here_is_refused(
    separator: Separator, song: Path, tmp_path: Path, name: str, reason: str
) -> None:
    with pytest.raises(PermanentError, match=reason):
        separated(separator, song, tmp_path / "stems", [name])
    with pytest.raises(PermanentError, match=reason):
        separator.download([name], timeout_s=60, on_progress=lambda *_: None, cancelled=never_cancelled)


def test_a_model_that_the_operator_names_is_downloaded(server: HttpServer, folder: Path) -> None:
    """As far as a test can, which has no file with the right hash: the server is asked, and the reason is told."""
    server.answer("/UVR-MDX-NET-Inst_HQ_3.onnx", Answer(body=b"another file"))
    library = ModelLibrary(folder, ("uvr mdx net inst hq 3",), sources=ModelSources((server.url(""),)))
    separator = Separator(library.default_engine("half"), name="half.onnx", library=library)
    with pytest.raises(TransientError, match="the downloaded file is not this model"):
        separator.download(
            ["UVR-MDX-NET-Inst_HQ_3"], timeout_s=60, on_progress=lambda *_: None, cancelled=never_cancelled
        )
    assert separator.loaded_models == []


def test_a_download_ends_when_its_task_is_cancelled(server: HttpServer, folder: Path) -> None:
    server.answer("/UVR-MDX-NET-Inst_HQ_3.onnx", Answer(body=b"x" * 10_000, drip_s=0.05))
    library = ModelLibrary(folder, ("UVR-MDX-NET-Inst_HQ_3",), sources=ModelSources((server.url(""),)))
    separator = Separator(library.default_engine("half"), name="half.onnx", library=library)
    with pytest.raises(CancelledError, match="download of the model"):
        separator.download(
            ["UVR-MDX-NET-Inst_HQ_3"],
            timeout_s=60,
            on_progress=lambda *_: None,
            cancelled=lambda: bool(server.requests),
        )
