"""What the mixer reads from WAV files, sample by sample, in every form that the service or a recorder writes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.browser.listening import decoded
from tests.browser.range_server import Content
from tests.browser.wavs import chunk, noise, wav
from uvr.audio.encode import AudioWriter, Encoding
from uvr.audio.format import SampleFormat
from uvr.audio.output_format import OutputFormat
from uvr.audio.tags import Tags

SOUND = noise(0.1, 7)
NOTES = chunk(b"LIST", b"INFO" + b"x" * 9_001) + chunk(b"JUNK", bytes(28))


@pytest.fixture
def read(page, server):
    """A function that reads a file of these bytes in the browser, from the frame `start` on."""

    def read(data: bytes, start: int = 0):
        server.files["/wav/file.wav"] = Content.of(data)
        found = page.evaluate("(start) => readWav('/wav/file.wav', start)", start)
        return found["sampleRate"], found["frames"], decoded(found["channels"])

    return read


@pytest.mark.parametrize(
    "form",
    [
        {"bits": 16},
        {"bits": 24},
        {"bits": 32},
        {"bits": 32, "is_float": True},
        {"bits": 24, "extensible": True},
        {"bits": 32, "is_float": True, "extensible": True},
        {"bits": 16, "rf64": True},
        {"bits": 24, "before": NOTES},
        {"bits": 16, "rate_hz": 192_000},
        {"bits": 24, "rate_hz": 8_000},
    ],
    ids=str,
)
def test_every_form_is_read_to_the_bit(read, form):
    for sound in (SOUND, SOUND[:, :1]):
        rate_hz, frames, samples = read(wav(sound, **form), 100)
        assert (rate_hz, frames) == (form.get("rate_hz", 44100), len(sound))
        assert np.array_equal(samples, sound[100:])


def test_all_that_our_own_encoder_writes_is_read(read, tmp_path):
    for number, sample_format in enumerate(SampleFormat):
        encoding = Encoding(OutputFormat.WAV, 48_000, 2, sample_format)
        path = tmp_path / f"{number}.wav"
        with AudioWriter(path, encoding, Tags({"title": "A song", "comment": "x" * 4096})) as writer:
            writer.write(SOUND.T)
        assert np.array_equal(read(path.read_bytes())[2], SOUND), sample_format


def test_a_file_that_was_cut_off_plays_to_its_end(read):
    assert np.array_equal(read(wav(SOUND)[:-402])[2], SOUND[:-101])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF",
        b"ID3" + bytes(5000),
        wav(SOUND)[:30],
        wav(SOUND).replace(b"data", b"dat_"),
        wav(SOUND).replace(b"fmt ", b"fmt_"),
        wav(SOUND).replace(b"fmt \x10\x00\x00\x00\x01", b"fmt \x10\x00\x00\x00\x55"),
    ],
    ids=["empty", "four bytes", "MP3", "cut in the format", "no samples", "no format", "MP3 in WAV"],
)
def test_what_is_not_a_wav_file_is_said_to_be_unreadable(page, server, data):
    server.files["/wav/file.wav"] = Content.of(data)
    reason = page.evaluate("readWav('/wav/file.wav', 0).catch(({ reason }) => reason)")
    assert reason == ("unreadable" if data else "changed")
