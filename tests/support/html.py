"""The tags of an HTML page and what they refer to."""

from __future__ import annotations

from html.parser import HTMLParser


class Tags(HTMLParser):
    """Names of all tags, and all addresses that a browser would follow."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href", "srcset")]
