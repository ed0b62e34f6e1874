"""What the user must know about an image: facts that stop nothing, and must not stay unsaid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cellcam.pipeline.explain_field import FieldResult


def image_notes(fields: Sequence[FieldResult]) -> tuple[str, ...]:
    """Notes about one image: those of all its fields, each once."""
    return each_once(note for field in fields for note in field.notes)


def each_once(notes: Iterable[str]) -> tuple[str, ...]:
    """The same notes, each once, in the order in which they came."""
    return tuple(dict.fromkeys(notes))
