"""Hook of the site: links to files that are not pages (tests, folders) become their text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.pages import Page

# [text](target), where the target is no address and no picture's.
_LINK = re.compile(r"(?<!!)\[([^\]\[]+)\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Keep links to pages; of all others the text."""
    docs = Path(config.docs_dir).resolve()
    here = (docs / page.file.src_uri).parent

    def kept(match: re.Match[str]) -> str:
        target = (here / match[2]).resolve()
        outside = docs not in target.parents or target.is_dir()
        return match[1] if outside and target.exists() else match[0]

    return _LINK.sub(kept, markdown)
