"""What the user must know about an image: facts that stop nothing, and must not stay unsaid."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from cellcam.pipeline.explain_field import FieldResult

_SHARE = re.compile(r"(?:Up to )?(?:(\d+)|Less than 1) %")


def image_notes(fields: Sequence[FieldResult]) -> tuple[str, ...]:
    """Notes about one image: those of all its fields, each once."""
    return each_once(note for field in fields for note in field.notes)


def each_once(notes: Iterable[str]) -> tuple[str, ...]:
    """The same notes, each once, in the order in which they came.

    Of notes that differ in a share alone ("12 % of the field ..."), the largest share is told.
    """
    shares: dict[str, set[float]] = {}
    for note in notes:
        share = _SHARE.match(note)
        shares.setdefault(note[share.end() :] if share else note, set()).add(
            float(share[1] or 0) if share else -1.0
        )
    return tuple(_told(text, found) for text, found in shares.items())


def _told(text: str, shares: set[float]) -> str:
    largest = max(shares)
    if largest < 0:
        return text
    share = f"{largest:g}" if largest else "Less than 1"
    return f"{'Up to ' if len(shares) > 1 and largest else ''}{share} %{text}"
