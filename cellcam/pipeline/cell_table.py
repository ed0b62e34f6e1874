"""The cell table of one field: one row per cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.cropping import reaches_outside
from cellcam.models.spec import ModelSpec
from cellcam.models.unlike import Unlikeness
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
    field: FoundCells,
    spec: ModelSpec,
    probabilities: NDArray[np.float32],
    evidence: CellEvidence,
    unlike: Unlikeness,
) -> pd.DataFrame:
    """One row per cell: its place, its call, and figures about its importance map.

    Parameters
    ----------
    field : cells of a field or of a block; those whose centroid lies in it are listed
    spec : of the model that called them
    probabilities : (N, n_classes); a row of NaN is a cell without call, whose class is empty
    evidence, unlike : of the same N cells

    Returns
    -------
    table with the columns image, t, z, label, y, x (centroid, px), y_um, x_um, bbox (first
    corner, then last, px, half-open), area (px), edge (the crop was mirrored at the field's
    edge), class, probability, p_<class>, margin (to the runner-up), share_<channel>, inside,
    rim (part of inside), outside, importance_error, unlike (above 1: a cell unlike those of the
    training), differs and differs_by (what differs most, see `Unlikeness`), flags, model
    """
    import pandas as pd

    owned = field.owned
    probabilities, evidence = probabilities[owned], evidence.of(owned)
    unlike = unlike.of(owned)
    ranked = np.sort(probabilities, axis=1)
    no_map = np.isnan(evidence.inside) & ~np.isnan(evidence.error)
    places, doubts = _places(field), _doubts_about_place(field)
    columns: dict[str, object] = {
        **places,
        "class": _calls(probabilities, spec.classes),
        "probability": ranked[:, -1],
        **{f"p_{name}": probabilities[:, i] for i, name in enumerate(spec.classes)},
        "margin": ranked[:, -1] - ranked[:, -2],
        **{f"share_{name}": evidence.shares[:, i] for i, name in enumerate(spec.channels)},
        "inside": evidence.inside,
        "rim": evidence.rim,
        "outside": 1 - evidence.inside,
        "importance_error": evidence.error,
        "unlike": unlike.values,
        "differs": list(unlike.differs),
        "differs_by": unlike.by,
        "flags": _flags(
            {
                "edge": doubts["edge"],
                "uncertain": ranked[:, -1] < spec.uncertain_below,
                "unlike": unlike.values > 1,
                "larger_than_crop": doubts["larger_than_crop"],
                "larger_than_border": doubts["larger_than_border"],
                "empty_map": no_map,
                "no_data": doubts["no_data"],
                "several_pieces": doubts["several_pieces"],
            }
        ),
        "model": spec.weights_sha256[:12],
    }
    return pd.DataFrame(columns, index=pd.RangeIndex(len(evidence.error)))


def place_table(field: FoundCells) -> pd.DataFrame:
    """One row per cell that no model has called: the columns of `cell_table` about its place."""
    import pandas as pd

    columns = {**_places(field), "flags": _flags(_doubts_about_place(field))}
    return pd.DataFrame(columns, index=pd.RangeIndex(int(field.owned.sum())))


def _places(field: FoundCells) -> dict[str, object]:
    """Columns from image to edge."""
    stack, owned = field.stack, field.owned
    numbers, centres = field.cells.numbers[owned], field.cells.centres[owned]
    return {
        "image": stack.name,
        "t": field.place.t,
        "z": str(0 if field.place.z is None else field.place.z),
        "label": numbers,
        "y": centres[:, -2],
        "x": centres[:, -1],
        "y_um": centres[:, -2] * (stack.pixel_size_um.y or np.nan),
        "x_um": centres[:, -1] * (stack.pixel_size_um.x or np.nan),
        "bbox": [_box_text(box) for box in _boxes(field)],
        "area": _areas(field),
        "edge": _is_at_edge(field),
    }


def _boxes(field: FoundCells) -> list[Part]:
    """Box of each cell, in pixels of the whole field."""
    from scipy import ndimage

    numbers, compact = field.compact
    boxes = ndimage.find_objects(compact)
    places = np.searchsorted(numbers, field.cells.numbers[field.owned])
    return [_placed(boxes[place], field.read) for place in places]


def _areas(field: FoundCells) -> NDArray[np.int64]:
    numbers, compact = field.compact
    areas = np.bincount(compact.ravel(), minlength=len(numbers) + 1)[1:]
    return areas[np.searchsorted(numbers, field.cells.numbers[field.owned])]


def _calls(probabilities: NDArray[np.float32], classes: Sequence[str]) -> list[str | None]:
    """Name of the most probable class of each cell; None without a call."""
    called = ~np.isnan(probabilities).any(axis=1)
    best = np.where(called, np.nan_to_num(probabilities).argmax(1), -1)
    return [classes[i] if i >= 0 else None for i in best]


def _is_at_edge(field: FoundCells) -> NDArray[np.bool_]:
    return reaches_outside(field.cells_at_scale[field.owned], field.spec.crop_size)


def _doubts_about_place(field: FoundCells) -> dict[str, NDArray[np.bool_]]:
    """Doubts that need no model, by flag: (N,) each."""
    # Size of a field's pixel in pixels of the model, along each axis.
    factor = np.array(field.shape_at_scale) / field.read.whole
    boxes = _boxes(field)
    larger = [(np.array(box.shape) * factor > field.spec.crop_size).any() for box in boxes]
    return {
        "edge": _is_at_edge(field),
        "larger_than_crop": np.array(larger, bool),
        "larger_than_border": np.array([_is_cut(box, field.read) for box in boxes], bool),
        "no_data": field.lacks_data[field.owned],
        "several_pieces": field.several_pieces[field.owned],
    }


def _placed(box: tuple[slice, ...], part: Part) -> Part:
    """Box of an array that holds ``part``, in pixels of the whole field."""
    starts = [s.start + first for s, first in zip(box, part.start, strict=True)]
    stops = [s.stop + first for s, first in zip(box, part.start, strict=True)]
    return Part(tuple(starts), tuple(stops), part.whole)


def _box_text(box: Part) -> str:
    """First corner, then last corner, half-open: ``y0,x0,y1,x1``."""
    return ",".join(map(str, [*box.start, *box.stop]))


def _flags(doubts: Mapping[str, NDArray[np.bool_]]) -> list[str]:
    """Flags of each cell, separated by semicolons."""
    rows = zip(*doubts.values(), strict=True)
    return [
        ";".join(name for name, holds in zip(doubts, row, strict=True) if holds) for row in rows
    ]


def _is_cut(box: Part, read: Part) -> bool:
    """Whether a cell touches an edge of what was read, inside the field: it may go on there."""
    first = any(a == r > 0 for a, r in zip(box.start, read.start, strict=True))
    ends = zip(box.stop, read.stop, read.whole, strict=True)
    return first or any(b == r < n for b, r, n in ends)
