"""Crops for a classifier that is not trained yet: as large as its cells need. No Qt here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from cellcam.models.network_input import ClassifierDraft
    from cellcam.pipeline.find_field import FoundCells
    from cellcam.pipeline.matching import MatchedStack

# A crop is 1.5 times as long as the 90th percentile of the cells, a multiple of 8 within limits.
# Larger cells are shown at a coarser pixel size.
_MARGIN, _PERCENTILE, _MULTIPLE, _SMALLEST, _LARGEST = 1.5, 90, 8, 32, 128
_WITHOUT_CELLS = 64


def measured_draft(draft: ClassifierDraft, matched: MatchedStack) -> ClassifierDraft:
    """The draft with a crop size, measured on the first field of a stack that has cells."""
    from cellcam.pipeline.find_field import find_field

    if draft.crop_size:
        return draft
    probe = replace(matched, spec=replace(draft, crop_size=(8,) * draft.spatial_dims))
    for place in probe.fields():
        found = find_field(probe, place)
        if found.can_be_called.any():
            return _fitted(draft, found)
    return replace(draft, crop_size=(_WITHOUT_CELLS,) * draft.spatial_dims)


def _fitted(draft: ClassifierDraft, found: FoundCells) -> ClassifierDraft:
    from scipy import ndimage

    boxes = ndimage.find_objects(found.compact[1])
    sides = np.array([[axis.stop - axis.start for axis in box] for box in boxes], float)
    wanted = _MARGIN * np.percentile(sides, _PERCENTILE, axis=0)
    pixel = np.array(found.stack.pixel_size_um[-draft.spatial_dims :], object)
    if None in pixel.tolist():
        coarser, sizes = 1.0, None
    else:
        coarser = max(1.0, float(wanted.max()) / _LARGEST)
        sizes = tuple(float(size) * coarser for size in pixel)
    wanted[-2:] = wanted[-2:].max()  # crops are square in the plane: cells may lie any way round
    rounded = _MULTIPLE * np.ceil(wanted / coarser / _MULTIPLE)
    crop = tuple(int(size) for size in np.clip(rounded, _SMALLEST, _LARGEST))
    return replace(draft, crop_size=crop, pixel_size_um=sizes)
