"""Images, clicks and waiting for the tests of the window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari_cellcam.explain_dock.explain_widget import ExplainWidget
    from napari_cellcam.state.session import Session

Until = Callable[..., None]

CLASSIFY_TITLE = "Classify and explain cells"
BATCH_TITLE = "Classify and explain a folder"

TWO_CENTRES = [(20, 15), (20, 40)]
PLACEMENT = {"scale": (0.5, 0.5), "units": ("um", "um"), "axis_labels": ("y", "x")}


def discs(shape: tuple[int, ...], centres: Sequence[tuple[float, float]]) -> np.ndarray:
    """Bright discs of radius 6 around centres (y, x), on each plane of an 8-bit image."""
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    inside = np.any([np.hypot(y - cy, x - cx) < 6 for cy, cx in centres], axis=0)
    noise = np.random.default_rng(0).poisson(20, shape)
    return (noise + 180 * inside).astype(np.uint8)


def classified(widget: ExplainWidget, until: Until) -> Session:
    """Classify the cells and wait for the session."""
    widget.classify()
    until(lambda: not widget.busy)
    assert widget.session is not None
    return widget.session


def explain(widget: ExplainWidget, until: Until) -> None:
    """Explain the cells and wait for the maps."""
    widget.explain()
    until(lambda: not widget.busy)


def click(widget: ExplainWidget, position: tuple[float, ...], *modifiers: str) -> None:
    """Click on a pixel of the cells, as napari would tell the viewer."""
    event = SimpleNamespace(
        position=widget.results.cells.data_to_world(position),
        view_direction=None,
        dims_displayed=[0, 1],
        modifiers=modifiers,
        pos=(100, 100),
        button=1,
        type="mouse_press",
    )
    reaction = widget.viewer.mouse_drag_callbacks[-1](widget.viewer, event)
    next(reaction)
    event.type = "mouse_release"
    next(reaction, None)
