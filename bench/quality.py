"""How close stems come to the true ones, at several levels of the input: `python -m bench.quality [FOLDER]`.

FOLDER holds a folder for each song, with `mixture`, `vocals` and `accompaniment` as audio of 44.1 kHz, such as a test
set of MUSDB18. Each song goes through this engine and through audio-separator with the same network, Spleeter-2stems
unless another is named, its mixture brought to each peak as 32-bit float, which neither rounds on the way in or out.

Plain SDR: 10 · log10(Σ s² / Σ (s - ŝ)²) in dB over the whole song, the true stem s at the level of that input. A stem
at another level than the mixture's counts as an error, as it is one to whoever adds stems together; what remains when
that is forgiven, with each stem at the gain that suits it best, stands beside it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from bench.support import OURS, ROOT, THEIRS, Worker, contenders, write_results
from uvr.audio.decode import AudioReader
from uvr.models import store

MUSIC = ROOT.parent / "shared" / "data" / "music"
PEAKS = (1.0, 0.5, 0.25, 0.02)
SPREAD_DB = 0.05
"""How much the level may matter."""
RATE_HZ = 44_100
MAX_S = 3600
TRUE_STEMS = {"vocals": "vocals", "instrumental": "accompaniment"}

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Score:
    """One stem of one song at one level."""

    song: str
    engine: str
    stem: str
    peak: float
    sdr_db: float
    best_gain_sdr_db: float


def main() -> None:
    """Separate everything with both engines, report."""
    parser = argparse.ArgumentParser(description="SDR of stems beside audio-separator.")
    parser.add_argument("folder", type=Path, nargs="?", default=MUSIC, help="songs with their true stems")
    parser.add_argument("--model", default="Spleeter-2stems", help="a model of the catalogue or a path")
    parser.add_argument("--peaks", type=float, nargs="+", default=PEAKS, help=f"levels of the input {PEAKS}")
    options = parser.parse_args()
    songs = sorted(path for path in options.folder.glob("*") if any(path.glob("mixture.*")))
    if not songs:
        raise SystemExit(f"{options.folder} has no folders with mixture, vocals and accompaniment in them.")
    model = store.ensure(options.model, ROOT / "models")
    scores: list[Score] = []
    with contenders(model) as both, tempfile.TemporaryDirectory(prefix="uvr-bench-") as name:
        folder = Path(name)
        for contender in (both[0], both[-1]):
            with contender.start(folder / "log", warm=False) as worker:
                for song in songs:
                    scores += scores_of(song, worker, contender.name, options.peaks, folder)
                    print(f"{contender.name}: {song.name}", file=sys.stderr)
    report(scores)


def scores_of(song: Path, worker: Worker, engine: str, peaks: Sequence[float], folder: Path) -> Iterator[Score]:
    """Both stems of one song at all levels."""
    mixture = samples_of(song, "mixture")
    true = {stem: samples_of(song, name) for stem, name in TRUE_STEMS.items()}
    for peak in peaks:
        factor = np.float32(peak / np.abs(mixture).max())
        source = write_float(folder / "float.wav", mixture * factor)
        stems = folder / f"{engine}-{song.name}-{peak}"
        worker.separate(source, stems)
        for stem, samples in true.items():
            estimate = read(stems / f"{stem}.wav")
            plain, best = sdr_db(samples * factor, estimate), best_gain_sdr_db(samples * factor, estimate)
            yield Score(song.name, engine, stem, peak, plain, best)


def samples_of(song: Path, name: str) -> Samples:
    """The file of that name in the song's folder, whatever its format."""
    return read(next(song.glob(f"{name}.*")))


def read(path: Path) -> Samples:
    """A file's samples, (channels, samples)."""
    with AudioReader(path, max_seconds=MAX_S) as reader:
        return np.concatenate(list(reader.blocks()), axis=1)


def write_float(path: Path, samples: Samples) -> Path:
    """A stereo WAV of 32-bit float at 44.1 kHz."""
    with av.open(str(path), "w", format="wav") as container:
        stream = container.add_stream("pcm_f32le", rate=RATE_HZ, layout="stereo")
        interleaved = np.ascontiguousarray(samples.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout="stereo")
        frame.sample_rate = RATE_HZ
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return path


def sdr_db(true: Samples, estimate: Samples) -> float:
    """Signal-to-distortion ratio; a song's float64 sums, since float32 would lose the last digits."""
    error = np.square(true - estimate, dtype=np.float64).sum()
    return float(10 * np.log10(np.square(true, dtype=np.float64).sum() / error))


def best_gain_sdr_db(true: Samples, estimate: Samples) -> float:
    """The same with the estimate at the gain at which it comes closest."""
    gain = np.vdot(true, estimate) / max(np.vdot(estimate, estimate), np.finfo(np.float32).tiny)
    return sdr_db(true, estimate * gain)


def report(scores: list[Score]) -> None:
    """A table of both engines side by side with each row's spread over the levels, and everything as JSON."""
    peaks = sorted({score.peak for score in scores}, reverse=True)
    print("Plain SDR in dB by the input's peak; in brackets with each stem at its best gain\n")
    print("| song | stem | engine |", " | ".join(f"{peak:g}" for peak in peaks), "| spread |")
    print("|---|---|---|" + "---|" * (len(peaks) + 1))
    spreads: dict[str, float] = {}
    for (song, stem, engine), row in rows_of(scores).items():
        spread = max(score.sdr_db for score in row) - min(score.sdr_db for score in row)
        spreads[engine] = max(spread, spreads.get(engine, 0.0))
        cells = [f"{score.sdr_db:.2f} ({score.best_gain_sdr_db:.2f})" for score in row]
        print(f"| {song} | {stem} | {engine} |", " | ".join(cells), f"| {spread:.2f} |")
    verdict = "reached" if spreads[OURS] <= SPREAD_DB else "missed"
    print(f"\nLargest spread of {OURS}: {spreads[OURS]:.3f} dB; at most {SPREAD_DB:g}: {verdict}.")
    write_results("quality", {"scores": [asdict(score) for score in scores], "largest_spread_db": spreads})


def rows_of(scores: list[Score]) -> dict[tuple[str, str, str], list[Score]]:
    """Song, stem and engine -> its scores from the loudest level to the faintest."""
    rows: dict[tuple[str, str, str], list[Score]] = {}
    for score in sorted(scores, key=lambda score: (score.song, score.stem, score.engine == THEIRS, -score.peak)):
        rows.setdefault((score.song, score.stem, score.engine), []).append(score)
    return rows


if __name__ == "__main__":
    main()
