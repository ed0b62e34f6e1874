"""The code blocks of README and site, and how they are run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)

# What stands before every script: trainings are short and small, maps are coarse.
SHELL = """set -euo pipefail
cellcam() {
    case "$*" in
        train*--start-from*) set -- "$@" --epochs 1 ;;
        train*) set -- "$@" --epochs 1 --crop-size 48 ;;
        explain* | batch*) set -- "$@" --rtol 0.5 ;;
    esac
    python -m cellcam "$@"
}
"""


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


def script(path: Path) -> str:
    """The shell script that a reader of the page would run, from its first to its last block.

    Blocks in ``python`` are one program: a later block uses the names of an earlier one.
    """
    of_page = list(blocks(path))
    commands = [block.text for block in of_page if block.language == "bash"]
    program = "".join(block.text for block in of_page if block.language == "python")
    if program:
        commands.append(f"python - <<'END_OF_PROGRAM'\n{program}END_OF_PROGRAM\n")
    return SHELL + "".join(commands) if commands else ""


def commands(text: str) -> Iterator[list[str]]:
    """The words of each call of ``cellcam`` in a shell script."""
    joined = text.replace("\\\n", " ")
    for line in re.findall(r"(?:^|\s|\")cellcam ([a-z]+ [^\n\"]*(?:\"[^\"]*\"[^\n\"]*)*)", joined):
        yield shlex.split(line, comments=True)
