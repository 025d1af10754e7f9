"""`python -m uvr separate` as people and scripts use it: a process with arguments, output, files and an exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.audio import codec_of, noise, read_audio, snr_db, write_audio
from tests.support.command_line import run_uvr, uvr_command
from tests.support.networks import PARAMETERS, uvr_entry, write_model, write_network
from tests.support.waiting import eventually


@pytest.fixture
def model(tmp_path: Path) -> tuple[str, ...]:
    """Arguments for a network that is not in the catalogue, with its parameters."""
    network = write_network(tmp_path / "half.onnx")
    (tmp_path / "half.json").write_text(json.dumps(uvr_entry(PARAMETERS)))
    return "--model", str(network), "--params", str(tmp_path / "half.json")


command = partial(uvr_command, "separate")
run = partial(run_uvr, "separate")


def song(path: Path, seconds: float = 1.5, **options: Any) -> Path:
    return write_audio(path, noise(seconds, peak=0.9), codec=options.get("codec", "pcm_s16le"))


def test_songs_become_stems_that_are_named_after_them(tmp_path: Path, model: tuple[str, ...]) -> None:
    songs = [song(tmp_path / "Erstes Lied.wav"), song(tmp_path / "二.mp3", codec="libmp3lame")]
    done = run(*songs, "-o", tmp_path / "new" / "stems", *model)
    assert done.returncode == 0, done.stderr
    names = [f"{name}_{stem}.wav" for name in ("Erstes Lied", "二") for stem in ("vocals", "instrumental")]
    assert done.stdout.splitlines() == [str(tmp_path / "new" / "stems" / name) for name in names]
    assert sorted(path.name for path in (tmp_path / "new" / "stems").iterdir()) == sorted(names)
    vocals, instrumental = (read_audio(Path(line)) for line in done.stdout.splitlines()[:2])
    assert snr_db(read_audio(songs[0]), PARAMETERS.compensate * vocals + instrumental) > 70


def test_json_has_one_line_for_each_song(tmp_path: Path, model: tuple[str, ...]) -> None:
    good, bad = song(tmp_path / "good.wav"), tmp_path / "bad.wav"
    bad.write_text("not audio")
    done = run(good, bad, tmp_path / "gone.wav", "-o", tmp_path, "--json", "--format", "flac", *model)
    assert done.returncode == 1
    separated, refused, missing = map(json.loads, done.stdout.splitlines())
    assert (separated["input"], separated["status"], separated["error_message"]) == (str(good), "success", None)
    assert separated["stems"] == {name: str(tmp_path / f"good_{name}.flac") for name in ("vocals", "instrumental")}
    assert all(codec_of(Path(path)) == "flac" for path in separated["stems"].values())
    network = {"model": "half", "provider": "cpu", "backend": "onnxruntime", "precision": "float32"}
    facts = {**network, "sample_rate": 44100, "channels": 2, "output_format": "flac"}
    assert facts.items() <= separated["facts"].items()
    assert set(separated["facts"]) == {*facts, "audio_s", "gain", "notes", "separation_s", "sum_error_db"}
    assert (refused["status"], refused["stems"]) == ("failed", {})
    assert refused["error_message"].startswith("The file is not audio")
    assert missing["error_message"] == "No such file or directory."
    assert f"{bad}: The file is not audio" in done.stderr


def test_differences_between_song_and_stems_are_reported(tmp_path: Path, model: tuple[str, ...]) -> None:
    source = write_audio(tmp_path / "song.wav", noise(1, channels=6, peak=0.3), codec="pcm_s16le", layout="5.1")
    done = run(source, "-o", tmp_path, "--format", "ogg", *model)
    assert done.returncode == 0
    assert f"{source}: The song's 6 channels were mixed down to stereo." in done.stderr
    assert f"{source}: The song's LFE channel is not in the mix." in done.stderr
    assert f"{source}: The song has 44100 Hz, the stems have 48000 Hz" in done.stderr


def test_the_gain_that_keeps_stems_from_clipping_is_reported(tmp_path: Path, model: tuple[str, ...]) -> None:
    write_network(tmp_path / "half.onnx", factor=3.0)
    done = run(song(tmp_path / "song.wav"), "-o", tmp_path, *model)
    assert "The stems are 8." in done.stderr


def test_a_song_that_crashes_the_network_does_not_stop_the_others(tmp_path: Path, model: tuple[str, ...]) -> None:
    crashing, after = song(tmp_path / "crashing.wav", 60), song(tmp_path / "after.wav")
    arguments = command(crashing, after, "-o", tmp_path / "stems", "--json", *model)
    with subprocess.Popen(**arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        os.kill(separating_child(process.pid, tmp_path / "stems"), signal.SIGKILL)
        stdout, _stderr = process.communicate(timeout=60)
    first, second = map(json.loads, stdout.splitlines())
    assert process.returncode == 1
    assert (first["status"], second["status"]) == ("failed", "success")
    assert "SIGKILL" in first["error_message"]
    assert sorted(path.name for path in (tmp_path / "stems").iterdir()) == [
        "after_instrumental.wav",
        "after_vocals.wav",
    ]


def separating_child(parent: int, folder: Path) -> int:
    """The process that runs the network, the first one started, once it is separating into `folder`."""
    eventually(lambda: list(folder.rglob("primary.f32")), "a separation begins", every_s=0.005)
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    commands = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
    return next(child for child, line in commands.items() if b"spawn_main" in line)


def test_a_song_is_not_overwritten_by_the_stem_of_another(tmp_path: Path, model: tuple[str, ...]) -> None:
    first, second = song(tmp_path / "song.wav"), song(tmp_path / "song_vocals.wav")
    before = second.read_bytes()
    done = run(first, second, "-o", tmp_path, *model)
    assert done.returncode == 1
    assert f"{first}: song_vocals.wav is one of the songs" in done.stderr
    assert second.read_bytes() == before
    assert not (tmp_path / "song_instrumental.wav").exists()
    assert (tmp_path / "song_vocals_vocals.wav").exists()


def test_songs_of_one_name_and_of_long_names_get_stems_of_their_own(tmp_path: Path, model: tuple[str, ...]) -> None:
    long = "二" * 83  # 249 bytes
    folders = [tmp_path / name for name in ("1", "2")]
    for folder in folders:
        folder.mkdir()
    songs = [song(folder / f"{name}.wav", 0.2) for folder in folders for name in ("song", long)]
    done = run(*songs, songs[0], "-o", tmp_path / "stems", *model)
    assert done.returncode == 0, done.stderr
    names = ["song", "二" * 70, "song-2", "二" * 70 + "-2"]
    places = [tmp_path / "stems" / f"{name}_{stem}.wav" for name in names for stem in ("vocals", "instrumental")]
    assert done.stdout.splitlines() == [str(place) for place in places]
    assert sorted((tmp_path / "stems").iterdir()) == sorted(places)


def test_a_folder_is_all_songs_below_it(tmp_path: Path, model: tuple[str, ...]) -> None:
    for name in ("a", "b"):
        (tmp_path / "music" / name).mkdir(parents=True)
        song(tmp_path / "music" / name / "song.wav", 0.2)
    done = run(tmp_path / "music", "-o", tmp_path / "music" / "stems", *model)
    assert done.returncode == 0, done.stderr
    places = [f"{name} - song_{stem}.wav" for name in ("a", "b") for stem in ("vocals", "instrumental")]
    assert done.stdout.splitlines() == [str(tmp_path / "music" / "stems" / place) for place in places]


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path, model: tuple[str, ...]) -> None:
    arguments = command(song(tmp_path / "song.wav", 60), "-o", tmp_path / "stems", *model)
    with subprocess.Popen(**arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        child = separating_child(process.pid, tmp_path / "stems")
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (130, "")
    assert stderr.endswith("\nStopped.\n")
    assert list((tmp_path / "stems").iterdir()) == []
    assert not Path(f"/proc/{child}").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "the following arguments are required: INPUT, -o/--output"),
        (("a.wav", "-o", "stems", "--format", "aac"), "invalid choice: 'aac'"),
        (("a.wav", "-o", "stems", "--model", "nonsense"), 'There is no model called "nonsense"'),
        (("a.wav", "-o", "stems", "--model", "a,b,c,a", "--model", "d,e"), "At most 4 models can be averaged, not 5."),
        (("a.wav", "-o", "{file}"), "Stems cannot be written to {file}: it is not a folder."),
        (("a.wav", "-o", "{file}/stems"), "Stems cannot be written to {file}/stems: Not a directory."),
        (("a.wav", "-o", "{folder}", "--model", "{file}", "--params", "{file}"), "song.wav does not describe a model"),
        (
            ("a.wav", "-o", "{folder}", "--model", "{file}", "--params", "{folder}/no.json"),
            "no.json cannot be read: No ",
        ),
        (("a.wav", "-o", "{folder}", "--model", "{file}.onnx"), "The parameters of song.wav.onnx are not known"),
        (("a.wav", "-o", "{folder}", "--model", "HQ_4", "--params", "{file}"), "a model file, and HQ_4 is not a file."),
    ],
)
def test_wrong_usage_is_reported_before_any_work(tmp_path: Path, arguments: tuple[str, ...], sentence: str) -> None:
    places = {"folder": tmp_path, "file": song(tmp_path / "song.wav")}
    write_network(tmp_path / "song.wav.onnx")
    done = run(*(argument.format(**places) for argument in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence.format(**places) in done.stderr


def test_several_models_are_averaged_and_only_the_wanted_stems_are_saved(tmp_path: Path) -> None:
    source = song(tmp_path / "song.wav", 1)
    for name, factor in (("half", 0.5), ("quarter", 0.25)):
        write_model(tmp_path / f"{name}.onnx", factor=factor)
    presets = tmp_path / "presets.json"
    presets.write_text('{"both": {"models": [["missing.onnx"], ["half.onnx", "quarter.onnx"]]}}')
    variables = {"MODEL_FILE_DIR": str(tmp_path), "PRESETS_FILE": str(presets)}
    stem = PARAMETERS.primary_stem.lower()
    done = run(source, "-o", tmp_path / "both", "--model", "Both", "--stems", stem.title(), "--json", **variables)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["stems"] == {stem: str(tmp_path / "both" / f"song_{stem}.wav")}
    assert result["facts"]["model"] == "half, quarter"
    # Either model alone would be 9 dB away; the small networks leave out the lowest frequencies.
    assert snr_db(read_audio(source) * 0.375, read_audio(Path(result["stems"][stem]))) > 20
    mixed = run(source, "-o", tmp_path, "--model", "both,half.onnx", **variables)
    assert (mixed.returncode, mixed.stdout) == (2, "")
    assert "both is a preset; give it alone" in mixed.stderr
    unknown = run(source, "-o", tmp_path, "--model", "half.onnx", "--stems", "drums", **variables)
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "There is no stem drums: half.onnx gives vocals, instrumental." in unknown.stderr


def test_invalid_settings_are_reported_before_any_work(tmp_path: Path) -> None:
    done = run(tmp_path / "a.wav", "-o", tmp_path, INFERENCE_THREADS="many")
    assert (done.returncode, done.stdout) == (2, "")
    assert "INFERENCE_THREADS: " in done.stderr


def test_models_of_the_catalogue_need_no_parameters(tmp_path: Path, trained_models: Path) -> None:
    source = song(tmp_path / "song.wav", 2)
    by_name = run(source, "-o", tmp_path / "1", "--model", "Spleeter-2stems", MODEL_FILE_DIR=str(trained_models))
    by_path = run(source, "-o", tmp_path / "2", "--model", trained_models / "Spleeter-2stems.onnx")
    assert (by_name.returncode, by_path.returncode) == (0, 0), by_name.stderr + by_path.stderr
    first, second = (folder / "song_vocals.wav" for folder in (tmp_path / "1", tmp_path / "2"))
    assert first.read_bytes() == second.read_bytes()
