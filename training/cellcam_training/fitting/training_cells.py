"""Measure what the training cells look like, and how far held-out cells lie from the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellcam.models.appearance import Floats
from cellcam.models.model import CellModel
from cellcam.models.normalisation import Normalisation
from cellcam.models.training_cells import NormalScores, TrainingCells
from cellcam.models.unlike import measures_of

# Share of cells of the training's own images that are flagged as unlike, by mistake.
FALSE_ALARMS = 0.01
# More training cells in the reference change nothing but time.
_MOST = 4000
_FOLDS = 5
_FARTHEST_MOVE = 2  # pixels
# From so many cells on, a threshold is a quantile of their distances; below, of a distribution
# with their mean and spread.
_ENOUGH_FOR_QUANTILE = 400


def known_cells(
    model: CellModel,
    pixels: NDArray[np.generic],
    groups: NDArray[np.integer],
    earlier: TrainingCells | None = None,
    seed: int = 0,
) -> TrainingCells:
    """What the training cells of a model look like.

    Parameters
    ----------
    pixels : (N, C, *crop_size) counts of the cells
    groups : (N,) number of the plate, movie or patient; all different if there are none
    earlier : cells of the model that the training went on from, which it still knows
    """
    normalisation = model.spec.normalisation
    measures, groups = measured_cells(pixels, normalisation, groups, seed)
    if earlier is not None and len(measures) < _MOST:
        old = earlier.reference[: _MOST - len(measures)]
        measures = np.concatenate([old, measures])
        # Its cells come in pairs, see `measured_cells`.
        groups = np.concatenate([-1 - np.arange(len(old)) // 2, groups])
    return measure_training_cells(measures, groups, seed)


def measured_cells(
    pixels: NDArray[np.generic],
    normalisation: Normalisation,
    groups: NDArray[np.integer],
    seed: int = 0,
) -> tuple[Floats, NDArray[np.int64]]:
    """Measures of cells as they are, and moved by up to two pixels; and their groups.

    Where the crop of a cell lies depends on how the cell was found: by hand, by its outline, by
    a threshold. Measures of very similar cells would be a matter of a pixel.

    Parameters
    ----------
    pixels : (N, C, *crop_size) counts; of more than 1,000 cells a sample is measured
    groups : (N,)

    Returns
    -------
    (2 n, C, K) measures, both of one cell next to each other, and (2 n,) groups
    """
    rng = np.random.default_rng(seed)
    chosen = _sample(len(pixels), rng)
    crops = np.asarray(pixels[chosen])
    moved = np.stack([_moved(crop, rng) for crop in crops])
    pairs = [measures_of(one, normalisation) for one in (crops, moved)]
    measures = np.stack(pairs, 1).reshape(-1, *pairs[0].shape[1:])
    return measures, np.repeat(groups[chosen], 2).astype(np.int64)


def measured_rows(n: int, seed: int = 0) -> NDArray[np.int64]:
    """Numbers of the cells, of N, whose measures `measured_cells` returns, in its order."""
    return np.repeat(_sample(n, np.random.default_rng(seed)), 2)


def _sample(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return np.sort(rng.permutation(n)[: _MOST // 2])


def _moved(crop: NDArray[np.generic], rng: np.random.Generator) -> NDArray[np.generic]:
    """The crop (C, *spatial) moved by up to two pixels along y and x, mirrored at its edge."""
    border = [(0, 0)] * (crop.ndim - 2) + [(_FARTHEST_MOVE, _FARTHEST_MOVE)] * 2
    y, x = rng.integers(0, 2 * _FARTHEST_MOVE + 1, 2)
    padded = np.pad(crop, border, mode="symmetric")
    return padded[..., y : y + crop.shape[-2], x : x + crop.shape[-1]]


def measure_training_cells(
    measures: Floats, groups: NDArray[np.integer], seed: int = 0
) -> TrainingCells:
    """What training cells look like, with thresholds that 1 % of held-out cells exceed.

    The thresholds come from cross-validation: each part of the cells, whole groups where there
    are several, is compared with the cells of the other parts.

    Parameters
    ----------
    measures : (2 n, C, K), see `measured_cells`
    groups : (2 n,) number of the plate, movie or patient; a number for each cell if there is none
    """
    part = _parts(groups, np.random.default_rng(seed))
    pairs = [described(measures[part != k]).distances(measures[part == k]) for k in np.unique(part)]
    far, sparse = (np.concatenate(figures) for figures in zip(*pairs, strict=True))
    farthest, sparsest = _threshold(far), _threshold(sparse)
    # A cell is unlike if it exceeds one of the two: together they may be exceeded as often.
    both = _threshold(np.maximum(far / farthest, sparse / sparsest))
    return described(measures, farthest * both, sparsest * both)


def described(measures: Floats, farthest: float = 1.0, sparsest: float = 1.0) -> TrainingCells:
    """Training cells of these measures (M, C, K) and thresholds."""
    whitening = _whitening(NormalScores(measures)(measures))
    return TrainingCells(measures, whitening, farthest, sparsest, FALSE_ALARMS)


def _whitening(scores: Floats) -> Floats:
    """Matrix (D, D) that removes all correlation, of a shrunken covariance."""
    from sklearn.covariance import LedoitWolf

    spread = scores.std(0) + 1e-3
    covariance = LedoitWolf(assume_centered=True).fit(scores / spread).covariance_
    values, vectors = np.linalg.eigh(covariance)
    whitening: Floats = (vectors / np.sqrt(values) / spread[:, None]).astype(np.float32)
    return whitening


def _parts(groups: NDArray[np.integer], rng: np.random.Generator) -> NDArray[np.int64]:
    """Part (N,) of each cell; groups stay together where there are enough of them."""
    numbers = np.unique(groups, return_inverse=True)[1]
    if int(numbers.max()) + 1 < _FOLDS:
        numbers = np.arange(len(groups)) // 2  # both measures of a cell stay together
    part_of_group = rng.permutation(int(numbers.max()) + 1) % _FOLDS
    parts: NDArray[np.int64] = part_of_group[numbers]
    return parts


def _threshold(distances: Floats) -> float:
    """Distance that a new cell exceeds with the probability `FALSE_ALARMS`."""
    n, share = len(distances), FALSE_ALARMS
    if n >= _ENOUGH_FOR_QUANTILE:
        # A rank that holds for the next cell, not only for these.
        rank = min(n, int(np.ceil((n + 1) * (1 - share))))
        return float(np.sort(distances)[rank - 1])
    from scipy import stats

    logs = np.log(distances + 1e-6)
    reach = stats.t.ppf(1 - share, max(1, n - 1)) * np.sqrt(1 + 1 / n)
    spread = float(logs.std(ddof=1)) if n > 1 else 0.0
    return float(np.exp(logs.mean() + reach * spread))
