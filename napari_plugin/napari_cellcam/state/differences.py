"""Why this and not that, for all cells of a session: maps on the field. No Qt here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_cellcam.state.cell_card import DIFFERENCE_RTOL

if TYPE_CHECKING:
    from torch import Tensor

    from cellcam.progress import Progress
    from napari_cellcam.state.session import Session

# Name of the map that shows for each cell why it has its class and not the runner-up.
DIFFERENCE = "why this and not that"


def stain_difference(stain: str) -> str:
    """Name of the map of one stain that moves alone from background to cell."""
    return f"why, {stain} alone"


def difference_names(stains: Sequence[str]) -> list[str]:
    """Names of all maps of differences; a single stain has no map of its own."""
    return [DIFFERENCE, *(map(stain_difference, stains) if len(stains) > 1 else ())]


@dataclass(frozen=True, eq=False)
class DifferenceMaps:
    """Maps of the score of each cell's call less that of its runner-up.

    Attributes
    ----------
    maps : signed float32 maps on the axes of `Session.kept_axes`, by name
    errors : estimated error of each map of each explained cell, relative to that map
    typical : median over the cells of the largest absolute value in a crop. The end of the scale:
        a scale for the surest cell would leave the doubtful ones, which people ask about, blank
    """

    maps: dict[str, NDArray[np.float32]]
    errors: NDArray[np.float32]
    typical: float

    @property
    def text(self) -> str:
        """How exact the maps are, in a sentence."""
        median, largest = 100 * np.median(self.errors), 100 * self.errors.max()
        return f"Estimated error of a map: {median:.0f} % (median), {largest:.0f} % at most."


def calls_and_runners_up(probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
    """The most probable class of each cell and the next one: (N, 2)."""
    called = probabilities.argmax(1)
    others = probabilities.copy()
    others[np.arange(len(others)), called] = -1
    return np.stack([called, others.argmax(1)], axis=1)


def difference_maps(
    session: Session, rows: Sequence[int] | None, by_stain: bool, progress: Progress
) -> DifferenceMaps:
    """The difference map of each cell, at each pixel that of the cell that it belongs to.

    As exact as the card's map of the same cell.

    Parameters
    ----------
    rows : of the session's table; None: all cells
    by_stain : a map of each stain instead of one of all
    """
    from cellcam.explain.memory import slices
    from cellcam.pipeline.map_canvas import MapCanvas

    stains = session.spec.channels
    names = difference_names(stains)[1:] if by_stain else [DIFFERENCE]
    planes = np.arange(len(names))
    canvases = [MapCanvas.empty(found, len(names)) for found in session.found]
    rows = range(len(session.table)) if rows is None else rows
    rows = [row for row in rows if session.can_be_called[row]]
    errors, largest = [], []
    for part in slices(len(rows), session.explainer.cells_at_once):

        def tick(done: int, total: int, note: str = "", first: int = part.start) -> None:
            progress(first + done, len(rows))

        tick(0, 0)
        maps, error = _explained(session, rows[part], by_stain, tick)
        errors.append(error.ravel())
        largest.append(np.abs(maps).reshape(len(maps), -1).max(axis=1))
        for row, cell_maps in zip(rows[part], maps, strict=True):
            field, index = session.locate(row)
            canvases[field].paste(index, cell_maps, planes)
    progress(len(rows), len(rows))
    images = [canvas.on_field() for canvas in canvases]
    return DifferenceMaps(
        {name: session.on_axes([image[i] for image in images]) for i, name in enumerate(names)},
        np.concatenate(errors),
        float(np.median(np.concatenate(largest))),
    )


def _explained(
    session: Session, rows: Sequence[int], by_stain: bool, progress: Progress
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Maps (n, K, *crop_size) of n cells, and their errors (n, K): of each stain, or of all."""
    import torch

    pairs = calls_and_runners_up(session.probabilities()[list(rows)])
    explained = session.explainer.explain_differences(
        np.stack([session.crop(row) for row in rows]),
        torch.from_numpy(pairs[:, None]),
        channels="each" if by_stain else None,
        progress=progress,
        **session.explaining.exactness(DIFFERENCE_RTOL),
    )

    def by_map(values: Tensor) -> NDArray[np.float32]:
        kept: NDArray[np.float32] = (values[:, 0] if by_stain else values).cpu().numpy()
        return kept

    return by_map(explained.maps), by_map(explained.error)
