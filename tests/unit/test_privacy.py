"""Other users, and children of a process, see nothing of it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from uvr.privacy import make_private_folder

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHON = shutil.which("python3", path="/usr/bin:/bin") or sys.executable  # one that every user can run
NOBODY = 65534
PARENT = """
import subprocess, sys
exec(sys.argv[1])
keep_private(0o077)
open("made", "w").close()
child = "import os, sys; sys.stdout.buffer.write(open(f'/proc/{os.getppid()}/environ', 'rb').read())"
done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True)
print(done.stdout, done.stderr.splitlines()[-1:], sep="\\n")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows environments of processes")
def test_a_child_cannot_read_the_environment_of_its_parent(tmp_path: Path) -> None:
    is_root = os.geteuid() == 0  # who may read everything
    if is_root:
        os.chown(tmp_path, NOBODY, NOBODY)
    done = subprocess.run(
        [PYTHON, "-c", PARENT, (ROOT / "uvr/privacy.py").read_text()],
        cwd=tmp_path,
        env={"SECRET": "do-not-show"},
        user=NOBODY if is_root else None,
        group=NOBODY if is_root else None,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "do-not-show" not in done.stdout
    assert "PermissionError" in done.stdout
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o600


def test_a_private_folder_is_made_once_and_closed_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    make_private_folder(folder)
    folder.chmod(0o755)
    make_private_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_link_or_a_file_is_no_private_folder(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    for name in ("link", "dangling", "file"):
        with pytest.raises(OSError, match=name):
            make_private_folder(tmp_path / name)
    assert stat.S_IMODE((tmp_path / "theirs").stat().st_mode) == 0o755


def test_a_link_that_appears_at_the_last_moment_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs").mkdir()

    def come_first(path: Path, **_options: int) -> None:
        path.symlink_to(tmp_path / "theirs")
        raise FileExistsError

    monkeypatch.setattr(Path, "mkdir", come_first)
    with pytest.raises(OSError, match="own"):
        make_private_folder(tmp_path / "own")


def test_a_folder_of_another_user_is_no_private_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs").mkdir(mode=0o755)
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    with pytest.raises(PermissionError, match="belongs to another user"):
        make_private_folder(tmp_path / "theirs")
    assert stat.S_IMODE((tmp_path / "theirs").stat().st_mode) == 0o755


def test_others_cannot_replace_a_private_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(PermissionError, match="others may replace it"):
        make_private_folder(tmp_path / "own")
    tmp_path.chmod(0o1777)
    make_private_folder(tmp_path / "own")
