"""What a process needs that loads a RoFormer: `python -m tests.support.roformer_process CHECKPOINT [SONG FOLDER]`.

Prints a JSON object. With a song it separates that, too. Linux only: reads /proc.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import structlog

from tests.support.song import separate_song
from uvr.separation.roformer.engine import RoformerEngine


def main(checkpoint: Path, *song_and_folder: Path) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    before, began = peak_bytes(), time.monotonic()
    engine = RoformerEngine(checkpoint, checkpoint.with_suffix(".yaml"), threads=2)
    facts = {"load_s": time.monotonic() - began, "loading_bytes": peak_bytes() - before}
    facts |= {"packed": packed_mapping(checkpoint), "fingerprint": engine.fingerprint}
    if song_and_folder:
        song, folder = song_and_folder
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets VmHWM
        separate_song(engine, song, folder, max_seconds=1e6)
        facts["separating_bytes"] = peak_bytes()
    json.dump(facts, sys.stdout)


def peak_bytes() -> int:
    """The peak of this process's memory."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024


def packed_mapping(checkpoint: Path) -> dict[str, int]:
    """The bytes of the packed file that are mapped, and how many of them are this process's own."""
    facts: dict[str, int] = {}
    name = ""
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        key, _, rest = line.partition(":")
        if "-" in key.split(" ")[0]:
            name = line
        elif f".{checkpoint.name}." in name and rest.endswith("kB"):
            facts[key] = facts.get(key, 0) + int(rest.split()[0]) * 1024
    return facts


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
