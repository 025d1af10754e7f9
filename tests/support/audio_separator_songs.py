"""Separates songs in a real child process with audio-separator, and prints the results as JSON.

.venv-library/bin/python -m tests.support.audio_separator_songs MODEL FOLDER ENGINE OUTPUT_DIR SONG…
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from uvr import logs
from uvr.errors import UvrError
from uvr.separation.engine_factory import EngineChoice, choose_engine
from uvr.separation.progress import never_cancelled
from uvr.separation.separator import Separator


def main(model: str, folder: str, engine: EngineChoice, output_dir: str, *songs: str) -> None:
    logs.configure("error", "json", process="library")
    separator = Separator(choose_engine(model, Path(folder), engine=engine, threads=1), log_level="error")
    with closing(separator):
        separator.start()
        outcomes = [separated(separator, Path(song), Path(output_dir) / Path(song).stem) for song in songs]
    json.dump(outcomes, sys.stdout)


def separated(separator: Separator, song: Path, folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True)
    shares: list[float] = []
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".work-") as work_dir:
            separation = separator.separate(
                song,
                Path(work_dir),
                folder,
                max_seconds=60,
                timeout_s=math.inf,
                on_progress=shares.append,
                cancelled=never_cancelled,
            )
    except UvrError as error:
        return {"error": type(error).__name__, "message": error.message, "left": list(map(str, folder.iterdir()))}
    left = sorted(path.name for path in folder.iterdir())
    stems = {name: str(path) for name, path in separation.stems.items()}
    return {"stems": stems, "shares": shares, "left": left, **separation.facts()}


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]
