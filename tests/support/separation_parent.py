"""A parent with a separation child, as a program: `python -m tests.support.separation_parent SONG`.

It prints one word per line: the child's pid once that is at work on the song, then "done" or the error's class. It
takes no notice of SIGTERM, and it ends without closing its child, as a careless caller would.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from tests.support.engines import ScriptedEngine
from uvr import logs
from uvr.errors import UvrError
from uvr.separation.child import SeparationChild


def say(word: object) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main(child: SeparationChild, song: str) -> None:
    logs.configure("info", "json", process="parent")
    signal.signal(signal.SIGTERM, lambda *_: None)
    child.start()
    try:
        child.separate(
            Path(song),
            Path(),
            max_seconds=1,
            timeout_s=60,
            on_progress=lambda _share: say(child.pid),
            cancelled=lambda: False,
        )
    except UvrError as error:
        say(type(error).__name__)
    else:
        say("done")


if __name__ == "__main__":
    # Global, so that it is there until the interpreter ends.
    careless = SeparationChild(ScriptedEngine)
    main(careless, sys.argv[1])
