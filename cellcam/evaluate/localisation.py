"""Parts of a map inside known regions. Regions are masks; `box_regions` makes them from boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


def energy_inside(maps: Tensor, regions: Tensor) -> Tensor:
    """Share of each map's sum that lies inside its region (energy-based pointing game, EBPG).

    Wang et al., "Score-CAM", CVPR Workshops 2020, section 4.3; here with masks, not boxes.

    Parameters
    ----------
    maps : (N, *spatial) tensor, >= 0
    regions : (N, *spatial) tensor of bool

    Returns
    -------
    (N,) float64 tensor between 0 and 1; NaN where a map is zero everywhere
    """
    values, inside = _flat(maps, regions)
    return (values * inside).sum(1) / values.sum(1)


def largest_inside(maps: Tensor, regions: Tensor) -> Tensor:
    """Share of the |R| largest values of a map that lies inside its region R (Bbox).

    No threshold is needed: the number of pixels is that of the region. Equal values at the last
    place share the remaining places: the mean over all orders of them.

    Parameters
    ----------
    maps, regions : as in `energy_inside`

    Returns
    -------
    (N,) float64 tensor between 0 and 1; NaN where a map is zero everywhere or a region is empty
    """
    values, inside = _flat(maps, regions)
    size = inside.sum(1)
    descending = values.sort(1, descending=True).values
    last = descending.gather(1, (size.long() - 1).clamp(min=0)[:, None])
    above, level = values > last, values == last
    places = size - above.sum(1)
    found = (above * inside).sum(1) + (level * inside).sum(1) * places / level.sum(1)
    return _where_any(found / size, values)


def points_inside(maps: Tensor, regions: Tensor) -> Tensor:
    """Whether the largest value of a map lies inside its region (pointing game).

    Zhang et al., "Top-down neural attention by excitation backprop", ECCV 2016, without a
    tolerance around the region. Of several equal largest values, the part inside.

    Parameters
    ----------
    maps, regions : as in `energy_inside`

    Returns
    -------
    (N,) float64 tensor between 0 and 1; NaN where a map is zero everywhere
    """
    values, inside = _flat(maps, regions)
    largest = values == values.amax(1, keepdim=True)
    return _where_any((largest * inside).sum(1) / largest.sum(1), values)


def box_regions(corners: Tensor, shape: Sequence[int]) -> Tensor:
    """Masks of boxes.

    Parameters
    ----------
    corners : (N, 2, n_axes) tensor, first and last corner in pixels, half-open, in the order of
        the axes of ``shape``; clipped to the image
    shape : of the image

    Returns
    -------
    (N, *shape) bool tensor on the device of ``corners``
    """
    import torch

    masks = torch.ones(len(corners), *shape, dtype=torch.bool, device=corners.device)
    for axis, length in enumerate(shape):
        place = torch.arange(length, device=corners.device)
        within = (place >= corners[:, 0, axis, None]) & (place < corners[:, 1, axis, None])
        masks &= within.view(-1, *[length if a == axis else 1 for a in range(len(shape))])
    return masks


def rims(regions: Tensor, share: float = 0.2) -> Tensor:
    """The outer layer of each region: ``share`` of its radius deep, at least one pixel.

    The radius is that of the disc (or ball) with as many pixels.

    Parameters
    ----------
    regions : (N, *spatial) bool tensor

    Returns
    -------
    (N, *spatial) bool tensor, part of ``regions``
    """
    import numpy as np
    import torch
    from scipy.ndimage import distance_transform_edt

    n_axes = regions.ndim - 1
    unit = math.pi if n_axes == 2 else 4 / 3 * math.pi
    masks = regions.cpu().numpy()
    layers = np.zeros_like(masks)
    for mask, layer in zip(masks, layers, strict=True):
        depth = max(1.0, share * (mask.sum() / unit) ** (1 / n_axes))
        layer[...] = mask & (distance_transform_edt(mask) <= depth)
    return torch.from_numpy(layers).to(regions.device)


def parts_of_cells(maps: NDArray[np.float32], regions: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Parts of each map's sum deep inside its cell, in the cell's rim and outside the cell.

    Parameters
    ----------
    maps : (N, *spatial) array, >= 0
    regions : (N, *spatial) the cells

    Returns
    -------
    (N, 3) array, adding up to 1; NaN where a map is zero everywhere
    """
    import numpy as np
    import torch

    importance, cells = torch.from_numpy(maps), torch.from_numpy(regions)
    layer = rims(cells)
    inside, rim = (energy_inside(importance, part).numpy() for part in (cells, layer))
    return np.stack([inside - rim, rim, 1 - inside], 1)


def _flat(maps: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
    """Values and region (N, pixels) in float64."""
    if maps.shape != regions.shape:
        raise ValueError(
            f"maps of shape {tuple(maps.shape)} need regions of the same shape, "
            f"not {tuple(regions.shape)}."
        )
    return maps.double().flatten(1), regions.flatten(1).double()


def _where_any(result: Tensor, values: Tensor) -> Tensor:
    return result.masked_fill(~values.any(1), math.nan)
