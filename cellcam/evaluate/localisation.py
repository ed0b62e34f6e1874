"""How much of a map lies where it should."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def energy_inside(maps: NDArray[Any], regions: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of each map's sum that lies inside its region (energy-based pointing game, EBPG).

    Wang et al., "Score-CAM", CVPR Workshops 2020, section 4.3; here with masks, not boxes.

    Parameters
    ----------
    maps : (N, *spatial) array, >= 0
    regions : (N, *spatial) array of bool

    Returns
    -------
    (N,) array between 0 and 1; NaN where a map is zero everywhere
    """
    space = tuple(range(1, maps.ndim))
    total = maps.sum(space, dtype=np.float64)
    inside = np.where(regions, maps, 0).sum(space, dtype=np.float64)
    return np.divide(inside, total, out=np.full(len(maps), np.nan), where=total > 0)
