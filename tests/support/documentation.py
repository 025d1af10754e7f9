"""What readers can copy from the documentation: fenced blocks by language, and commands in running text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "README.zh-CN.md",
    ROOT / "LOCAL_RUN.md",
    ROOT / "MODELS.md",
    *sorted((ROOT / "docs").glob("*.md")),
]

_FENCED = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```\n", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`([^`]+)`")
# Commands begin with one of these, after any variables set for them. A program's name alone is not a command.
_COMMAND = re.compile(r"([A-Z_]+=\S+ )*(\./\w+\.sh\b|(aws|curl|docker|htpasswd|make|pip|python|redis-cli|uv) )")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `answer` is the block right after it, which shows what the commands print."""

    page: str
    language: str
    text: str
    answer: Block | None = None

    def __str__(self) -> str:
        return f"{self.page}: {self.text.splitlines()[0][:60]}"

    @property
    def commands(self) -> list[str]:
        """The lines of a block of shell commands, each without its comment."""
        return [re.sub(r"\s+# .*", "", line) for line in self.text.splitlines() if not line.startswith("# ")]


def blocks(*languages: str) -> list[Block]:
    """The blocks of all pages in reading order, all or only those in these languages."""
    found = [block for page in PAGES for block in _blocks_of(page)]
    return [block for block in found if not languages or block.language in languages]


def commands_in_text() -> dict[str, str]:
    """The commands within sentences and tables, each with the first page that has it."""
    found: dict[str, str] = {}
    for page in PAGES:
        text = _FENCED.sub("", page.read_text(encoding="utf-8"))
        for code in (" ".join(code.split()) for code in _CODE.findall(text)):
            if _COMMAND.match(code):
                found.setdefault(code, _name(page))
    return found


def _blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    following: re.Match[str] | None = None
    made: list[Block] = []
    for match in reversed(list(_FENCED.finditer(text))):
        is_answered = following is not None and not text[match.end() : following.start()].strip()
        answer = made[-1] if is_answered and made[-1].language in ("json", "http") else None
        made.append(Block(_name(page), match["language"], match["text"], answer))
        following = match
    yield from reversed(made)


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def differences(example: object, answer: object, where: str = "answer") -> list[str]:
    """Where a real answer lacks what a JSON example shows. Fields compare by name, values by type; null matches all."""
    if example is None or answer is None:
        return []
    if isinstance(example, dict) and isinstance(answer, dict):
        missing = [f"{where} has no {name}" for name in example if name not in answer]
        common = [name for name in example if name in answer]
        return missing + [
            fault for name in common for fault in differences(example[name], answer[name], f"{where}.{name}")
        ]
    if isinstance(example, list) and isinstance(answer, list):
        faults = [differences(example[0], entry, f"{where}[]") for entry in answer] if example else []
        return min(faults, key=len, default=[])
    is_number = isinstance(example, int | float) and isinstance(answer, int | float)
    return [] if is_number or type(example) is type(answer) else [f"{where} is {answer!r}, not like {example!r}"]
