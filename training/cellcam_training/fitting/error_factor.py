"""Measure, on training cells, how far estimated errors of explanations are from true ones."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from cellcam.models.model import CellModel
from cellcam.request import DEFAULT_RTOL

# Share of true errors that shall be below the estimated ones.
_COVERED = 0.95
# With fewer cells than the least number that can show this share, the estimates stay as they are.
_FEWEST, _MOST = 19, 80
# The points that maps to the default error take once the factor is known are about those that they
# take to this error without it.
_MEASURED_RTOL = DEFAULT_RTOL / 0.7
# Error of the maps that are taken for the truth.
_TRUTH_RTOL = DEFAULT_RTOL / 4


def measured_error_factor(model: CellModel, pixels: NDArray[np.generic], seed: int = 0) -> float:
    """Factor by which estimated errors of the model's explanations must be multiplied.

    Then 95 % of the true errors of other cells like these are below the estimated ones: maps of
    the called class are compared with more exact ones.

    Parameters
    ----------
    pixels : (N, C, *crop_size) counts of training cells, of which up to 80 are drawn

    Returns
    -------
    1 where there are fewer than 19 cells to measure it on
    """
    drawn = np.sort(np.random.default_rng(seed).permutation(len(pixels))[:_MOST])
    crops = np.asarray(pixels[drawn])
    if len(crops) < _FEWEST:
        return 1.0
    model = model.with_spec(error_factor=1.0)
    truth = model.explain(crops, rtol=_TRUTH_RTOL, upsample=False)
    found = model.explain(crops, truth.class_idx, rtol=_MEASURED_RTOL, upsample=False)
    made = (found.maps - truth.maps).flatten(1).norm(dim=1)
    return _covering(made, found.error[:, 0] * found.maps.flatten(1).norm(dim=1))


def _covering(made: torch.Tensor, estimated: torch.Tensor) -> float:
    """Factor that covers the errors of the next cell with a probability of 95 %."""
    told = estimated > 0  # an empty map, or one along which the gradient is constant
    ratios = (made[told] / estimated[told]).sort().values
    n = len(ratios)
    if n < _FEWEST:
        return 1.0
    rank = min(n, int(np.ceil((n + 1) * _COVERED)))
    return float(ratios[rank - 1])
