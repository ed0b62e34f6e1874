"""The cells of one image as they travel between programs: the model between all formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

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


class Edges(NamedTuple):
    """All E edges of outlines.

    Attributes
    ----------
    start, end : (E, 2) x, y
    cell : (E,) which outline
    ring : (E,) which ring, counted over all outlines
    is_hole : (E,) whether the ring is a hole
    """

    start: NDArray[np.float64]
    end: NDArray[np.float64]
    cell: NDArray[np.int64]
    ring: NDArray[np.int64]
    is_hole: NDArray[np.bool_]

    @classmethod
    def of(cls, outlines: Sequence[Outline]) -> Edges:
        """Edges of outlines, ring by ring."""
        rings = [ring for outline in outlines for polygon in outline for ring in polygon]
        if not rings:
            none = np.empty(0, np.int64)
            return cls(np.empty((0, 2)), np.empty((0, 2)), none, none, none.astype(bool))
        lengths = np.array([len(ring) for ring in rings])
        hole = [n > 0 for outline in outlines for polygon in outline for n in range(len(polygon))]
        cell = np.repeat(np.arange(len(outlines)), [sum(map(len, one)) for one in outlines])
        start = np.concatenate(rings).astype(np.float64)
        following = np.arange(1, len(start) + 1)
        following[np.cumsum(lengths) - 1] = np.cumsum(lengths) - lengths
        return cls(
            start,
            start[following],
            np.repeat(cell, lengths),
            np.repeat(np.arange(len(rings)), lengths),
            np.repeat(np.array(hole), lengths),
        )


def centres_of(outlines: Sequence[Outline]) -> NDArray[np.float64]:
    """Centroids (N, 2) x, y of the areas of outlines; NaN of an outline without area."""
    edges = Edges.of(outlines)
    n_rings = int(edges.ring.max(initial=-1)) + 1
    first = np.zeros((n_rings, 2))
    first[edges.ring[::-1]] = edges.start[::-1]
    cell_of_ring = np.zeros(n_rings, np.int64)
    cell_of_ring[edges.ring] = edges.cell
    is_hole = np.zeros(n_rings, bool)
    is_hole[edges.ring] = edges.is_hole
    # From a corner of the ring: products of large numbers would not be exact enough.
    (x, y), (next_x, next_y) = (
        (edges.start - first[edges.ring]).T,
        (edges.end - first[edges.ring]).T,
    )
    cross = x * next_y - next_x * y
    area = np.bincount(edges.ring, cross, n_rings) / 2
    moments = [
        np.bincount(edges.ring, (place + following) * cross, n_rings) / 6 + area * corner
        for place, following, corner in zip((x, y), (next_x, next_y), first.T, strict=True)
    ]
    # Whichever way round rings run, holes take away from the area.
    sign = np.where(is_hole, -1, 1) * np.where(area < 0, -1, 1)
    total, x_sum, y_sum = (
        np.bincount(cell_of_ring, sign * part, len(outlines)) for part in (area, *moments)
    )
    total = np.where(total > 0, total, np.nan)
    return np.column_stack([x_sum, y_sum]) / total[:, None]
