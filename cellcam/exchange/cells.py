"""The cells of one image as they travel between programs: the model between all formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

# (K, 2) corners x, y of a ring; the last is joined to the first.
Ring: TypeAlias = NDArray[np.number]
# Outer ring, then holes.
Polygon: TypeAlias = list[Ring]
# Polygons of one cell; none of a cell of which only a point is known.
Outline: TypeAlias = list[Polygon]

# Plane of a cell whose file does not state one.
NOT_STATED = -1


@dataclass(frozen=True)
class ImageFacts:
    """What a file of cells says about their image; None and empty where it does not.

    Attributes
    ----------
    shape : (y, x) pixels of the full resolution
    n_times, n_planes : lengths of its axes
    pixel_size_um : (y, x)
    """

    name: str = ""
    shape: tuple[int, int] | None = None
    n_times: int = 1
    n_planes: int = 1
    pixel_size_um: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Cells:
    """N cells of one image.

    Places are in pixels of the full resolution; the origin is the upper left corner of the image,
    so the first pixel reaches from 0 to 1 and its centre is at 0.5.

    Attributes
    ----------
    ids : names of the cells in their file
    numbers : (N,) labels > 0, different within a plane
    planes : (N, 2) time point and plane, from 0; `NOT_STATED` where the file does not say
    centres : (N, 2) x, y
    outlines : of each cell
    classes : name of each cell's class, empty without one
    colours : ``#rrggbb`` of classes
    measurements : (N,) values by name; NaN where there is none
    remarks : N texts by name, empty where there is none
    notes : what was left out, for the user
    """

    ids: tuple[str, ...]
    numbers: NDArray[np.int64]
    planes: NDArray[np.int64]
    centres: NDArray[np.float64]
    outlines: tuple[Outline, ...]
    classes: tuple[str, ...]
    colours: Mapping[str, str] = field(default_factory=dict)
    measurements: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    remarks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    image: ImageFacts = ImageFacts()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def measured(self, i: int) -> dict[str, float]:
        """What was measured on cell ``i``."""
        values = ((name, float(column[i])) for name, column in self.measurements.items())
        return {name: value for name, value in values if np.isfinite(value)}

    def remarks_about(self, i: int) -> dict[str, str]:
        """Texts about cell ``i``."""
        return {name: column[i] for name, column in self.remarks.items() if column[i]}


def numbers_of(names: Sequence[str], planes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels of cells: their names, where these are different whole numbers > 0; else 1, 2, ...

    Parameters
    ----------
    names : of N cells
    planes : (N, 2); the same number may be on several planes
    """
    if all(name.isascii() and name.isdecimal() and len(name) < 11 for name in names):
        numbers = np.array([int(name) for name in names], np.int64)
        places = np.column_stack([planes, numbers])
        if (numbers > 0).all() and len(np.unique(places, axis=0)) == len(names):
            return numbers
    return np.arange(1, len(names) + 1)


def centre_of(outline: Outline) -> tuple[float, float]:
    """Centroid x, y of the area of an outline."""
    total, x_sum, y_sum = 0.0, 0.0, 0.0
    for polygon in outline:
        for n, ring in enumerate(polygon):
            corners = np.asarray(ring, np.float64)
            first = corners[0]
            x, y = (corners - first).T  # of small numbers, whose products are exact enough
            next_x, next_y = np.roll(x, -1), np.roll(y, -1)
            cross = x * next_y - next_x * y
            sign = (1 if n == 0 else -1) * (1 if cross.sum() >= 0 else -1)
            area = sign * cross.sum() / 2
            total += area
            x_sum += sign * ((x + next_x) * cross).sum() / 6 + area * first[0]
            y_sum += sign * ((y + next_y) * cross).sum() / 6 + area * first[1]
    if total <= 0:
        corners = np.concatenate([polygon[0] for polygon in outline])
        return float(corners[:, 0].mean()), float(corners[:, 1].mean())
    return x_sum / total, y_sum / total
