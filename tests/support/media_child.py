"""The service's media child for tests with hostile files: its verdict, and the resources that it took."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.children import pid_of
from uvr.errors import PermanentError
from uvr.separation.child_process import Child
from uvr.separation.jobs import Decode
from uvr.separation.progress import ignore_progress, never_cancelled
from uvr.separation.separator import load_media


@dataclass(frozen=True)
class Verdict:
    """The result for a file: the message of its refusal, "" if it was decoded, and the resources used."""

    refusal: str
    cpu_s: float
    memory_bytes: int
    """The growth of the child's memory, from before to the peak."""
    disk_bytes: int


class MediaChild:
    """A running media child, and a folder for what it decodes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._child = Child(load_media, "media", log_level="error")
        self._child.start()

    @property
    def pid(self) -> int:
        pid = pid_of(self._child)
        assert pid is not None
        return pid

    def decode(self, source: Path, *, max_seconds: float, timeout_s: float = 60) -> Verdict:
        """The verdict on `source`. Raises every error that is not a refusal, such as time-outs and crashes."""
        self._folder.mkdir()
        before = self._memory_bytes("VmRSS")
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # resets the peak
        cpu_s, refusal = self._cpu_s(), ""
        try:
            job = Decode(source, self._folder, max_seconds)
            self._child.run(job, timeout_s=timeout_s, on_progress=ignore_progress, cancelled=never_cancelled)
        except PermanentError as error:
            refusal = error.message
        disk_bytes = sum(path.stat().st_size for path in self._folder.iterdir())
        shutil.rmtree(self._folder)
        return Verdict(refusal, self._cpu_s() - cpu_s, self._memory_bytes("VmHWM") - before, disk_bytes)

    def close(self) -> None:
        self._child.close()

    def _cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _memory_bytes(self, field: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition(f"{field}:")[2].split()[0]) * 1024


@contextmanager
def media_child(folder: Path) -> Iterator[MediaChild]:
    """A `MediaChild` that decodes into the new folder `folder`."""
    child = MediaChild(folder)
    try:
        yield child
    finally:
        child.close()
