"""How long work reports how far it has come."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called by long work again and again; an exception that it raises ends the work."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """``done`` of ``total`` steps are finished; ``note`` is shown beside them."""
