"""The cell table of one field: one row per cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.cropping import reaches_outside
from cellcam.pipeline.find_field import FoundCells
from cellcam.stacks.blocks import Part

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class CellEvidence:
    """Figures about the importance maps of N cells; NaN for cells that were not explained.

    Attributes
    ----------
    inside : (N,) part of the importance that lies inside the cell; NaN where there is none
    rim : (N,) of that, the part in the cell's outer layer, see `rims`
    error : (N,) estimated relative error of the strongest map
    shares : (N, C) drop of the class logit when a stain is replaced by background, see
        `CellModel.channel_shares`
    """

    inside: NDArray[np.float64]
    rim: NDArray[np.float64]
    error: NDArray[np.float64]
    shares: NDArray[np.float64]

    @classmethod
    def unknown(cls, n_cells: int, n_channels: int) -> CellEvidence:
        """No cell was explained: NaN everywhere."""
        inside, rim, error = np.full((3, n_cells), np.nan)
        return cls(inside, rim, error, np.full((n_cells, n_channels), np.nan))

    def of(self, cells: NDArray[np.bool_]) -> CellEvidence:
        """Figures of some of the cells."""
        return CellEvidence(
            self.inside[cells], self.rim[cells], self.error[cells], self.shares[cells]
        )


def cell_table(
    field: FoundCells, probabilities: NDArray[np.float32], evidence: CellEvidence
) -> pd.DataFrame:
    """One row per cell: its place, its call, and figures about its importance map.

    Parameters
    ----------
    field : cells of a field or of a block; those whose centroid lies in it are listed
    probabilities : (N, n_classes)
    evidence : of the same N cells

    Returns
    -------
    table with the columns image, t, z, label, y, x (centroid, px), y_um, x_um, bbox (first
    corner, then last, px, half-open), area (px), edge (the crop was mirrored at the field's
    edge), class, probability, p_<class>, margin (to the runner-up), share_<channel>, inside,
    rim (part of inside), outside, importance_error, flags, model
    """
    import pandas as pd
    from scipy import ndimage

    stack, spec, owned = field.stack, field.spec, field.owned
    numbers, centres = field.cells.numbers[owned], field.cells.centres[owned]
    probabilities, evidence = probabilities[owned], evidence.of(owned)
    every_box = ndimage.find_objects(field.labels)
    boxes = [_placed(every_box[number - 1], field.read) for number in numbers]
    edge = reaches_outside(field.cells_at_scale[owned], spec.crop_size)
    scale = np.array(field.shape_at_scale) / field.read.whole
    ranked = np.sort(probabilities, axis=1)
    columns: dict[str, object] = {
        "image": stack.name,
        "t": field.place.t,
        "z": str(0 if field.place.z is None else field.place.z),
        "label": numbers,
        "y": centres[:, -2],
        "x": centres[:, -1],
        "y_um": centres[:, -2] * (stack.pixel_size_um.y or np.nan),
        "x_um": centres[:, -1] * (stack.pixel_size_um.x or np.nan),
        "bbox": [_box_text(box) for box in boxes],
        "area": np.bincount(field.labels.ravel())[numbers],
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
        "flags": _flags(edge, ranked[:, -1], evidence, boxes, field, scale),
        "model": spec.weights_sha256[:12],
    }
    return pd.DataFrame(columns, index=pd.RangeIndex(len(numbers)))


def _placed(box: tuple[slice, ...], part: Part) -> Part:
    """Box of an array that holds ``part``, in pixels of the whole field."""
    starts = [s.start + first for s, first in zip(box, part.start, strict=True)]
    stops = [s.stop + first for s, first in zip(box, part.start, strict=True)]
    return Part(tuple(starts), tuple(stops), part.whole)


def _box_text(box: Part) -> str:
    """First corner, then last corner, half-open: ``y0,x0,y1,x1``."""
    return ",".join(map(str, [*box.start, *box.stop]))


def _flags(
    edge: NDArray[np.bool_],
    probability: NDArray[np.float32],
    evidence: CellEvidence,
    boxes: list[Part],
    field: FoundCells,
    factor: NDArray[np.float64],
) -> list[str]:
    """Flags of each cell, separated by semicolons.

    Parameters
    ----------
    factor : size of a field's pixel in pixels of the model, along each axis
    """
    texts = []
    spec, read = field.spec, field.read
    empty = np.isnan(evidence.inside) & ~np.isnan(evidence.error)
    for at_edge, p, has_no_map, box in zip(edge, probability, empty, boxes, strict=True):
        flags = {
            "edge": at_edge,
            "uncertain": p < spec.uncertain_below,
            "larger_than_crop": (np.array(box.shape) * factor > spec.crop_size).any(),
            "larger_than_border": _is_cut(box, read),
            "empty_map": has_no_map,
        }
        texts.append(";".join(name for name, holds in flags.items() if holds))
    return texts


def _is_cut(box: Part, read: Part) -> bool:
    """Whether a cell touches an edge of what was read, inside the field: it may go on there."""
    first = any(a == r > 0 for a, r in zip(box.start, read.start, strict=True))
    ends = zip(box.stop, read.stop, read.whole, strict=True)
    return first or any(b == r < n for b, r, n in ends)
