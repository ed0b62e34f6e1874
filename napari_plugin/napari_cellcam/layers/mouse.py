"""What is used of napari's mouse events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class MouseEvent(Protocol):
    """The attributes of napari's mouse event that are used here."""

    position: Sequence[float]
    view_direction: Sequence[float] | None
    dims_displayed: Sequence[int]
    modifiers: Sequence[object]
    pos: Sequence[float]
    button: int
    type: str
