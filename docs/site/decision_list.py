"""Hook of the site: the list of decisions, from the headings of their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.pages import Page

_MARK = "<!-- decisions -->"


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Fill in the list."""
    if _MARK not in markdown:
        return markdown
    folder = Path(page.file.abs_src_path or "").parent
    lines = []
    for path in sorted(folder.glob("0*.md")):
        title = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        number = path.name[:4]
        lines.append(f"- {number}: [{title.removeprefix(f'{number}: ')}]({path.name})")
    return markdown.replace(_MARK, "\n".join(lines))
