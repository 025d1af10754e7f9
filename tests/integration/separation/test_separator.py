"""The three stages in their real processes: a real network, real files, and children that die."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.support.audio import noise, read_audio, write_audio
from tests.support.networks import PARAMETERS, write_network
from uvr.errors import CancelledError, CrashError, PermanentError
from uvr.separation.engine import Separation
from uvr.separation.engine_factory import MdxEngineFactory
from uvr.separation.progress import ignore_progress, never_cancelled
from uvr.separation.separator import Separator

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("model") / "half.onnx")


@pytest.fixture(scope="module")
def warm_separator(model: Path) -> Iterator[Separator]:
    separator = Separator(MdxEngineFactory(model, PARAMETERS, threads=1))
    yield separator
    separator.close()


@pytest.fixture
def separator(warm_separator: Separator) -> Separator:
    """A separator with both children running, even if the test before has killed them."""
    warm_separator.start()
    return warm_separator


def separate(separator: Separator, source: Path, folder: Path, **options: object) -> Separation:
    folder.mkdir()
    work_dir = folder / "work"
    work_dir.mkdir()
    settings = {
        "max_seconds": 60,
        "timeout_s": 60,
        "on_progress": ignore_progress,
        "cancelled": never_cancelled,
    } | options
    return separator.separate(source, work_dir, folder, **settings)  # type: ignore[arg-type]


def test_a_song_goes_through_all_stages(separator: Separator, tmp_path: Path) -> None:
    sound = noise(2, rate=48_000)
    source = write_audio(tmp_path / "song.wav", sound, codec="pcm_f32le", rate=48_000)
    shares: list[float] = []
    made = separate(separator, source, tmp_path / "stems", on_progress=shares.append)
    vocals, instrumental = (read_audio(made.stems[name]) for name in ("vocals", "instrumental"))
    assert (made.sample_rate, made.provider, separator.provider) == (48_000, "cpu", "cpu")
    assert np.abs(PARAMETERS.compensate * vocals + instrumental - sound).max() < 1e-6
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_the_next_song_is_decoded_while_one_is_in_the_network(separator: Separator, tmp_path: Path) -> None:
    source = write_audio(tmp_path / "song.wav", noise(1), codec="pcm_s16le")
    first_is_in, second_waits = threading.Event(), threading.Event()

    @contextmanager
    def first_slot() -> Iterator[None]:
        first_is_in.set()
        assert second_waits.wait(30)
        yield

    @contextmanager
    def second_slot() -> Iterator[None]:
        assert (tmp_path / "second" / "work" / "source.f32").stat().st_size == 44_100 * 2 * 4
        second_waits.set()
        first.join()
        yield

    first = threading.Thread(
        target=separate, args=(separator, source, tmp_path / "first"), kwargs={"inference_slot": first_slot()}
    )
    first.start()
    assert first_is_in.wait(30)
    separate(separator, source, tmp_path / "second", inference_slot=second_slot())
    assert (tmp_path / "first" / "vocals.wav").read_bytes() == (tmp_path / "second" / "vocals.wav").read_bytes()


def test_a_file_that_is_not_audio_never_reaches_the_network(separator: Separator, tmp_path: Path) -> None:
    source = tmp_path / "song.wav"
    source.write_bytes(b"no audio at all")

    @contextmanager
    def slot() -> Iterator[None]:
        raise AssertionError("the network was entered")
        yield

    with pytest.raises(PermanentError, match="not audio that can be decoded"):
        separate(separator, source, tmp_path / "stems", inference_slot=slot())


def test_the_death_of_a_decoder_does_not_affect_the_network(separator: Separator, tmp_path: Path) -> None:
    source = write_audio(tmp_path / "song.wav", noise(1), codec="pcm_s16le")
    never_ending = tmp_path / "pipe.wav"
    os.mkfifo(never_ending)
    network, media = sorted(multiprocessing.active_children(), key=lambda child: child.name, reverse=True)
    threading.Timer(0.5, media.kill).start()
    with pytest.raises(CrashError, match="The media process of the separation died: SIGKILL"):
        separate(separator, never_ending, tmp_path / "dead")
    assert separate(separator, source, tmp_path / "stems").provider == "cpu"
    assert network.is_alive()


def test_a_cancelled_song_leaves_no_stems(separator: Separator, tmp_path: Path) -> None:
    source = write_audio(tmp_path / "song.wav", noise(5), codec="pcm_s16le")
    shares: list[float] = []
    with pytest.raises(CancelledError):
        separate(
            separator,
            source,
            tmp_path / "stems",
            on_progress=shares.append,
            cancelled=lambda: any(s > 0.1 for s in shares),
        )
    assert [path.name for path in (tmp_path / "stems").iterdir()] == ["work"]


def test_closing_ends_every_child(model: Path) -> None:
    before = len(multiprocessing.active_children())
    separator = Separator(MdxEngineFactory(model, PARAMETERS, threads=1))
    separator.start()
    assert len(multiprocessing.active_children()) == before + 2
    separator.close()
    assert len(multiprocessing.active_children()) == before


def test_the_parent_imports_nothing_heavy(model: Path, tmp_path: Path) -> None:
    source = write_audio(tmp_path / "song.wav", noise(1), codec="pcm_s16le")
    program = f"""
import sys
from pathlib import Path
from uvr import logs
from uvr.models.catalogue import MdxParameters
from uvr.separation.engine_factory import MdxEngineFactory
from uvr.separation.separator import Separator

logs.configure("info", "json", process="parent")
folder = Path({str(tmp_path)!r})
separator = Separator(MdxEngineFactory(Path({str(model)!r}), {PARAMETERS!r}, threads=1))
separator.separate(
    Path({str(source)!r}), folder, folder, max_seconds=9, timeout_s=60, on_progress=print, cancelled=lambda: False
)
separator.close()
print(*{{"numpy", "av", "onnx", "onnxruntime"}} & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == ""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not count this memory")
def test_a_media_child_gets_no_more_memory_than_songs_need() -> None:
    greedy = (
        "from uvr.separation.separator import MAX_MEDIA_BYTES, load_media\n"
        "load_media()\n"
        "bytearray(MAX_MEDIA_BYTES // 2)\n"
        "bytearray(MAX_MEDIA_BYTES)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", greedy], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr.endswith("line 4, in <module>\nMemoryError\n")
