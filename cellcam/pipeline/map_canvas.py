"""Maps of single cells, put together on their field."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.cropping import nearest_cells, paste_maps, resized
from cellcam.cells.finder import Labels
from cellcam.pipeline.find_field import FoundCells


@dataclass(frozen=True, eq=False)
class MapCanvas:
    """Maps of a field that are being put together (docs/decisions/0004).

    Attributes
    ----------
    found : the cells of the field
    planes : (P, *spatial) float32 maps at the model's pixel size
    """

    found: FoundCells
    planes: NDArray[np.float32]

    @classmethod
    def empty(cls, found: FoundCells, n_planes: int) -> MapCanvas:
        """Canvas without any map yet: 0 everywhere."""
        return cls(found, np.zeros((n_planes, *found.labels_at_scale.shape), np.float32))

    @cached_property
    def owner(self) -> Labels:
        """Label of the cell that each pixel of the canvas belongs to; 0 where there is no data."""
        owner = nearest_cells(self.found.labels_at_scale, self.found.spec.crop_size)
        missing = self.found.missing_at_scale
        return owner if missing is None else np.where(missing, 0, owner)

    def paste(self, cell: int, maps: NDArray[np.float32], planes: NDArray[np.integer]) -> None:
        """Put the maps of one cell in their place.

        Parameters
        ----------
        cell : index in ``found.cells``
        maps : (K, *crop_size)
        planes : (K,) plane that each map goes to
        """
        position = self.found.cells_at_scale[cell : cell + 1]
        part = self.found.read_at_scale
        paste_maps(self.planes, maps[None], planes[None], position, self.owner, part)

    def on_field(self) -> NDArray[np.float32]:
        """The maps at the field's own pixel size, (P, *spatial of the field's core)."""
        found = self.found
        maps = resized(self.planes, found.core.whole, own=found.read_at_scale, wanted=found.core)
        if found.missing is None:
            return maps
        missing = found.missing[found.core.within(found.read)]
        return np.where(missing, np.float32(0), maps)
