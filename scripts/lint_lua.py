"""Checks the Lua scripts of the service: `python -m scripts.lint_lua`, run by `make lint`.

Real Lua 5.1, the version that Redis has, compiles each script as the loader puts it together. Beyond what a compiler
sees, it reports variables that are not declared (Redis refuses to create a global, but only when the line runs), locals
that are never used, a script that writes without saying first what happens on a full server, and a missing comment at
the top.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import singledispatchmethod
from pathlib import Path
from typing import Any

from luaparser import ast, astnodes
from lupa import lua51

from uvr.redis.scripts import FOLDER, SHARED, parts_of

GLOBALS = {"ARGV", "KEYS", "ipairs", "math", "pcall", "redis", "string", "table", "tonumber", "type", "unpack"}
OPENINGS = ("refuse_when_full()", "run_when_full()")
READING = {
    "EXISTS",
    "GET",
    "HGET",
    "HMGET",
    "TIME",
    "ZCARD",
    "ZCOUNT",
    "ZRANGE",
    "ZRANGEBYSCORE",
    "ZRANK",
    "ZREVRANGE",
    "ZSCORE",
}


class Scopes:
    """Follows the variables of a script through its blocks, innermost last. `visit` takes a node of the syntax tree."""

    def __init__(self) -> None:
        self.undeclared: set[str] = set()
        self.unused: set[str] = set()
        self._blocks: list[dict[str, bool]] = []

    @singledispatchmethod
    def visit(self, node: Any) -> None:
        """What stands in the node, in any order: no variable begins or ends here."""
        if isinstance(node, astnodes.Node):
            self.visit([part for name, part in vars(node).items() if not name.startswith("_") and name != "comments"])

    @visit.register
    def _(self, nodes: list) -> None:  # type: ignore[type-arg]
        for node in nodes:
            self.visit(node)

    @visit.register
    def _(self, node: astnodes.Name) -> None:
        for block in reversed(self._blocks):
            if node.id in block:
                block[node.id] = True
                return
        if node.id not in GLOBALS:
            self.undeclared.add(node.id)

    @visit.register
    def _(self, node: astnodes.Index) -> None:
        self.visit(node.value)
        if node.notation is not astnodes.IndexNotation.DOT:  # what follows a dot is a field, not a variable
            self.visit(node.idx)

    @visit.register
    def _(self, node: astnodes.LocalAssign) -> None:
        self.visit(node.values)
        self._declare(node.targets)

    @visit.register
    def _(self, node: astnodes.LocalFunction) -> None:
        self._declare([node.name])
        self._block(node.args, node.body)

    @visit.register
    def _(self, node: astnodes.AnonymousFunction) -> None:
        self._block(node.args, node.body)

    @visit.register
    def _(self, node: astnodes.Forin) -> None:
        self.visit(node.iter)
        self._block(node.targets, node.body)

    @visit.register
    def _(self, node: astnodes.Fornum) -> None:
        self.visit([node.start, node.stop, node.step])
        self._block([node.target], node.body)

    @visit.register
    def _(self, node: astnodes.Block) -> None:
        self._block([], node)

    def _block(self, declared: list[Any], block: Any) -> None:
        self._blocks.append({})
        self._declare(declared)
        self.visit(block.body)
        self.unused |= {name for name, used in self._blocks.pop().items() if not used and name != "_"}

    def _declare(self, names: list[Any]) -> None:
        self._blocks[-1].update({name.id: False for name in names if isinstance(name, astnodes.Name)})


def faults(script: Path) -> Iterator[str]:
    """What is wrong with a script."""
    *commons, text = (part.read_text(encoding="utf-8") for part in parts_of(script))
    source = "\n".join([*commons, text])
    try:
        lua51.LuaRuntime().compile(source)
    except lua51.LuaSyntaxError as error:
        yield str(error)
        return
    scopes = Scopes()
    scopes.visit(ast.parse(source).body)
    yield from (f"`{name}` is not declared" for name in sorted(scopes.undeclared))
    yield from (f"`{name}` is never used" for name in sorted(scopes.unused - helpers(commons)))
    if not re.match(r"-- \w[^\n]*\n(--[^\n]*\n)*?-- KEYS: ", text):
        yield "does not begin with a comment: what it does, KEYS, ARGV, what it returns"
    code = re.sub(r"^(--[^\n]*)?\n", "", text, flags=re.MULTILINE)
    if not code.startswith(OPENINGS) and set(re.findall(r"call\('(\w+)'", code)) - READING:
        yield f"writes, so it must begin with {' or '.join(OPENINGS)}"


def helpers(commons: Iterable[str]) -> set[str]:
    """The functions that common files define."""
    return {name for text in commons for name in re.findall(r"^local function (\w+)", text, flags=re.MULTILINE)}


def unused_helpers() -> Iterator[str]:
    """The helpers in common files that nothing calls."""
    texts = {path: path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.lua")}
    words = Counter(re.findall(r"\w+", "\n".join(texts.values())))
    for name in sorted(helpers(text for path, text in texts.items() if path.name in SHARED)):
        if words[name] == 1:
            yield f"`{name}` is a helper that nothing calls"


def main() -> int:
    """Print the faults; 1 if there are any."""
    scripts = [path for path in sorted(FOLDER.rglob("*.lua")) if path.name not in SHARED]
    found = [f"{script.relative_to(FOLDER)}: {fault}" for script in scripts for fault in faults(script)]
    found += unused_helpers()
    print("\n".join(found) or f"All {len(scripts)} Lua scripts passed.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
