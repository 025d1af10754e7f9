"""The Lua scripts in lua/, read once at import. Redis runs each of them as one step.

A script is named by its path, such as `queue/claim`. The loader puts lua/common.lua in front of it, and then the shared
files of its own folder, as far as there are any: keys.lua, order.lua, common.lua. `make lint` checks the scripts
(scripts/lint_lua.py).
"""

from __future__ import annotations

from pathlib import Path

from redis import Redis
from redis.commands.core import Script

FOLDER = Path(__file__).parent / "lua"
SHARED = ("keys.lua", "order.lua", "common.lua")


def parts_of(script: Path) -> list[Path]:
    """The files that make up a script, in their order."""
    shared = dict.fromkeys([FOLDER / "common.lua", *(script.parent / name for name in SHARED)])
    return [*filter(Path.exists, shared), script]


def register(client: Redis, name: str) -> Script:
    """The script as a function of `keys` and `args`, run by `client`."""
    return client.register_script(SOURCES[name])


def register_folder(client: Redis, folder: str) -> dict[str, Script]:
    """All scripts of a folder, by their names in it."""
    names = [name.removeprefix(f"{folder}/") for name in SOURCES if name.startswith(f"{folder}/")]
    return {name: register(client, f"{folder}/{name}") for name in names}


SOURCES = {
    script.relative_to(FOLDER).with_suffix("").as_posix(): "\n".join(
        part.read_text(encoding="utf-8") for part in parts_of(script)
    )
    for script in sorted(FOLDER.rglob("*.lua"))
    if script.name not in SHARED
}
