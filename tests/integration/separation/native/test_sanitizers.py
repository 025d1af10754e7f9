"""The kernels under ASan, UBSan, LSan and TSan; `make test-sanitizers` runs only this.

The program in tests/support/kernels runs networks of both kinds over shapes that fit no tile, on every instruction set,
with every number of threads; calls one network from two threads while others are made and freed; and makes networks
with each allocation and each start of a thread failing once.
"""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from uvr.separation.native.build import SOURCES, BuildError, compiler

CHECK = Path(__file__).resolve().parents[3] / "support" / "kernels"
FLAGS = ("-std=gnu99", "-g1", "-Wall", "-Wextra", "-Werror", "-pthread", "-fno-sanitize-recover=all", "-Og")
"""With -Og, to build and to run takes the least time together."""
POISON = "-DTDFNET_POISON"  # uninitialised memory is not zero


@pytest.fixture
def command() -> list[str]:
    try:
        return compiler()
    except BuildError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_sanitizers_find_nothing(tmp_path: Path, command: list[str], sanitizers: str) -> None:
    flags = [*FLAGS, f"-fsanitize={sanitizers}"]
    program = tmp_path / "check"
    (tmp_path / "empty.c").write_text("int main(void) { return 0; }\n")
    if subprocess.run([*command, *flags, tmp_path / "empty.c", "-o", program], check=False).returncode:
        pytest.skip(f"this compiler has no -fsanitize={sanitizers}")

    def compiled(source: Path) -> Path:
        target = tmp_path / f"{source.stem}.o"
        subprocess.run([*command, *flags, POISON, f"-I{SOURCES}", "-c", source, "-o", target], check=True)
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compiled, [*sorted(SOURCES.glob("*.c")), *sorted(CHECK.glob("*.c"))]))
    subprocess.run([*command, *flags, f"@{CHECK / 'link.flags'}", *objects, "-o", program, "-lm"], check=True)
    done = subprocess.run([program], capture_output=True, text=True, timeout=200, check=False)

    assert done.returncode == 0, done.stderr[-3000:]
