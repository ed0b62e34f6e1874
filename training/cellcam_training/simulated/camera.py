"""Image formation: uneven illumination, background and camera noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_OFFSET, _READ_NOISE = 100.0, 6.0  # camera counts


def photographed(random: np.random.Generator, scene: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Camera counts of a scene, with uneven illumination and background, shot and read noise.

    Parameters
    ----------
    scene : (C, Z, Y, X) expected counts without background

    Returns
    -------
    (C, Z, Y, X) counts
    """
    n_channels, _, height, width = scene.shape
    v, u = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    shape = (n_channels, 1, 1, 1)
    tilt = random.uniform(-0.15, 0.15, (2, *shape))
    light = 1 - random.uniform(0.05, 0.25, shape) * (u**2 + v**2) + tilt[0] * u + tilt[1] * v
    background = random.uniform(20, 60, shape) * (1.5 - light)
    expected = np.clip(scene * light + background, 0, None)
    counts = random.poisson(expected) + random.normal(_OFFSET, _READ_NOISE, scene.shape)
    return np.clip(np.round(counts), 0, 65535).astype(np.uint16)
