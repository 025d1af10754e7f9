"""A parent with a child, as a program: `python -m tests.support.separation_parent DEED`.

It prints one word per line: the child's pid once that is at work, then "done" or the error's class. It
takes no notice of SIGTERM, and it ends without closing its child, as a careless caller would.
"""

from __future__ import annotations

import signal
import sys

from tests.support.children import pid_of
from tests.support.engines import Deed, ScriptedEngine
from uvr import logs
from uvr.errors import UvrError
from uvr.separation.child_process import Child
from uvr.separation.progress import never_cancelled


def say(word: object) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main(child: Child, deed: str) -> None:
    logs.configure("info", "json", process="parent")
    signal.signal(signal.SIGTERM, lambda *_: None)
    child.start()
    try:
        child.run(Deed(deed), timeout_s=60, on_progress=lambda _share: say(pid_of(child)), cancelled=never_cancelled)
    except UvrError as error:
        say(type(error).__name__)
    else:
        say("done")


if __name__ == "__main__":
    # Global, so that it is there until the interpreter ends.
    careless = Child(ScriptedEngine, "network")
    main(careless, sys.argv[1])
