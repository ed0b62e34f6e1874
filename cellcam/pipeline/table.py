"""The cell table of one field: one row per cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.cropping import CellPositions, reaches_outside
from cellcam.cells.finding import Labels
from cellcam.models.model import ModelSpec
from cellcam.stacks.stack import Stack, ZChoice

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Evidence:
    """Where the evidence for N cells lies.

    Attributes
    ----------
    inside : (N,) part of the importance that lies inside the cell; NaN where there is none
    rim : (N,) of that, the part in the cell's outer layer, see `rims`
    error : (N,) largest estimated relative error of its maps
    shares : (N, C) what the score of its class loses without each stain, see
        `CellModel.channel_shares`
    """

    inside: NDArray[np.float64]
    rim: NDArray[np.float64]
    error: NDArray[np.float64]
    shares: NDArray[np.float64]

    @classmethod
    def unknown(cls, n_cells: int, n_channels: int) -> Evidence:
        """Evidence that was not looked for: NaN everywhere."""
        inside, rim, error = np.full((3, n_cells), np.nan)
        return cls(inside, rim, error, np.full((n_cells, n_channels), np.nan))


def cell_table(
    stack: Stack,
    spec: ModelSpec,
    labels: Labels,
    cells: CellPositions,
    probabilities: NDArray[np.float32],
    evidence: Evidence,
    field: tuple[int, ZChoice],
    shape_at_scale: tuple[int, ...],
) -> pd.DataFrame:
    """Where each cell is, what it is called, and how far to trust that.

    Parameters
    ----------
    labels, cells : label image of the field and the positions of its N cells
    probabilities : (N, n_classes)
    evidence : where it lies
    field : time point and plane
    shape_at_scale : of the field at the model's pixel size

    Returns
    -------
    table with the columns image, t, z, label, y, x (centroid, px), y_um, x_um, bbox (first
    corner, then last, px, half-open), area (px), edge (the crop was mirrored at the field's
    edge), class, probability, p_<class>, margin (to the runner-up), share_<channel>, inside,
    rim (part of inside), outside, importance_error, flags, model
    """
    import pandas as pd
    from scipy import ndimage

    numbers, centres = cells.numbers, cells.centres
    boxes = [box for box in ndimage.find_objects(labels) if box is not None]
    edge = reaches_outside(cells.at_scale(shape_at_scale), spec.crop_size)
    scale = np.array(shape_at_scale) / labels.shape
    ranked = np.sort(probabilities, axis=1)
    columns: dict[str, Any] = {
        "image": stack.name,
        "t": field[0],
        "z": str(field[1] if field[1] is not None else 0),
        "label": numbers,
        "y": centres[:, -2],
        "x": centres[:, -1],
        "y_um": centres[:, -2] * (stack.pixel_size_um.y or np.nan),
        "x_um": centres[:, -1] * (stack.pixel_size_um.x or np.nan),
        "bbox": [_box_text(box) for box in boxes],
        "area": np.bincount(labels.ravel())[numbers],
        "edge": edge,
        "class": [spec.classes[i] for i in probabilities.argmax(1)],
        "probability": ranked[:, -1],
        **{f"p_{name}": probabilities[:, i] for i, name in enumerate(spec.classes)},
        "margin": ranked[:, -1] - ranked[:, -2],
        **{f"share_{name}": evidence.shares[:, i] for i, name in enumerate(spec.channels)},
        "inside": evidence.inside,
        "rim": evidence.rim,
        "outside": 1 - evidence.inside,
        "importance_error": evidence.error,
        "flags": _flags(edge, ranked[:, -1], evidence, boxes, spec, scale),
        "model": spec.weights_sha256[:12],
    }
    return pd.DataFrame(columns, index=pd.RangeIndex(len(numbers)))


def _box_text(box: tuple[slice, ...]) -> str:
    """First corner, then last corner, half-open: ``y0,x0,y1,x1``."""
    return ",".join(str(n) for n in [*(s.start for s in box), *(s.stop for s in box)])


def _flags(
    edge: NDArray[np.bool_],
    probability: NDArray[np.float32],
    evidence: Evidence,
    boxes: list[tuple[slice, ...]],
    spec: ModelSpec,
    factor: NDArray[np.float64],
) -> list[str]:
    """Doubts about each cell, separated by semicolons; ``factor`` leads to the model's pixels."""
    texts = []
    empty = np.isnan(evidence.inside) & ~np.isnan(evidence.error)
    for cut, sure, nothing, box in zip(edge, probability, empty, boxes, strict=True):
        extent = np.array([s.stop - s.start for s in box]) * factor
        flags = {
            "edge": cut,
            "uncertain": sure < spec.uncertain_below,
            "larger_than_crop": (extent > spec.crop_size).any(),
            "empty_map": nothing,
        }
        texts.append(";".join(name for name, holds in flags.items() if holds))
    return texts
