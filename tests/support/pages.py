"""The code blocks of README and site, and how they are run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)

# What is added to commands, so that trainings are short and small, and maps coarse.
_SHORTER = {
    "train": ["--epochs", "1", "--crop-size", "48"],
    "train on": ["--epochs", "1"],
    "explain": ["--rtol", "0.5"],
    "batch": ["--rtol", "0.5", "--scheduler", "sync"],
}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str


def pages() -> list[Path]:
    """README, CONTRIBUTING and the pages of the site; decisions and records aside."""
    docs = [path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "decisions"]
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(docs)]


def blocks(path: Path) -> Iterator[Block]:
    """All fenced blocks of a page, in their order."""
    text = path.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        indent = len(match[1])
        code = "\n".join(line[indent:] for line in match[3].splitlines())
        line = text.count("\n", 0, match.start()) + 1
        yield Block(str(path.relative_to(ROOT)), line, match[2], code + "\n")


def program(path: Path) -> str:
    """The Python blocks of a page: later ones use the names of earlier ones."""
    return "".join(block.text for block in blocks(path) if block.language == "python")


def calls(path: Path) -> list[list[str]]:
    """The words behind ``cellcam`` in each call that a reader of the page would run, in order."""
    text = "".join(block.text for block in blocks(path) if block.language == "bash")
    lines = [shlex.split(line, comments=True) for line in _joined(text).splitlines()]
    wrong = [line for line in lines if line and line[0] != "cellcam"]
    assert not wrong, f"{path}: only calls of cellcam are run, not {wrong}"
    return [line[1:] for line in lines if line]


def shorter(call: list[str]) -> list[str]:
    """The same call with options that make it short."""
    kind = "train on" if "--start-from" in call else call[0]
    return [*call, *_SHORTER.get(kind, [])]


def commands(text: str) -> Iterator[list[str]]:
    """The words of each call of ``cellcam`` in a shell script, loops and jobs included."""
    pattern = r"(?:^|\s|\")cellcam ([a-z]+ [^\n\"]*(?:\"[^\"]*\"[^\n\"]*)*)"
    for line in re.findall(pattern, _joined(text)):
        yield shlex.split(line, comments=True)


def _joined(text: str) -> str:
    """A script without lines that go on in the next."""
    return text.replace("\\\n", " ")
