"""How long work reports how far it has come."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called by long work again and again; an exception that it raises ends the work."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """``done`` of ``total`` steps are finished; ``note`` is shown beside them.

        ``total`` 0: the number of steps is not known, and ``note`` says what is being done.
        """


def nobody(_done: int, _total: int, _note: str = "") -> None:
    """Progress that nobody looks at."""


def staged(progress: Progress | None, stage: str) -> Progress:
    """Progress of a part of the work, with the name of the part in its notes."""

    def report(done: int, total: int, note: str = "") -> None:
        if progress:
            progress(done, total, f"{stage}: {note}" if note else stage)

    return report
