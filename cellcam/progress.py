"""How long work reports its progress."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Callback of long work: ``done`` of ``total`` steps, and a note to show beside them."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Report that ``done`` of ``total`` steps are finished."""
