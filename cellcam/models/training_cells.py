"""What the training cells of a model look like, and how far other cells lie from them.

A cell is compared with its nearest training cells in the space of `appearance`. Each measure is
first turned into a normal score among the training cells, so that none counts for its units or its
outliers, and correlations are removed. Compared with other ways in
docs/decisions/0014-unlike-cells.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cellcam.models.appearance import Floats
from cellcam.models.spec import KnownImages

# Shares of the training cells between which a measure is a rank, and standard deviations that one
# such width counts beyond them.
_SHARES = np.linspace(0.01, 0.99, 99)
_BEYOND = 4.0
_NEIGHBOURS = 6


class NormalScores:
    """Turns measures into normal scores among the training cells: (N, C, K) to (N, C * K)."""

    def __init__(self, reference: Floats) -> None:
        from scipy.special import ndtri

        flat = reference.reshape(len(reference), -1)
        self._levels = np.quantile(flat, _SHARES, axis=0)
        self._scores = ndtri(_SHARES)

    def __call__(self, measures: Floats) -> Floats:
        """Scores; beyond the levels they go on in a straight line."""
        flat = measures.reshape(len(measures), self._levels.shape[1])  # also for no cell
        low, high = self._levels[0], self._levels[-1]
        scores = np.empty(flat.shape, np.float32)
        for i, levels in enumerate(self._levels.T):
            scores[:, i] = np.interp(flat[:, i], levels, self._scores)
        beyond = np.maximum(flat - high, 0) - np.maximum(low - flat, 0)
        scores += (_BEYOND * beyond / (high - low + 1e-3)).astype(np.float32)
        return scores


@dataclass(frozen=True, eq=False)
class TrainingCells:
    """Measures of the cells that a model was trained on.

    Attributes
    ----------
    reference : (M, C, K) measures of training cells, see `appearance`
    whitening : (C * K, C * K): normal scores @ whitening have no correlation
    farthest, sparsest : thresholds of the two figures of `distances`, above which a cell is unlike
        the training cells
    false_alarms : share of held-out cells of the training's images that exceed one of them
    images : when a whole image is unlike; None for a training on too few images
    """

    reference: Floats
    whitening: Floats
    farthest: float = 1.0
    sparsest: float = 1.0
    false_alarms: float = 0.01
    images: KnownImages | None = None

    def unlike(self, measures: Floats) -> Floats:
        """How unlike the training cells each cell is: (N,), above 1 beyond a threshold.

        Parameters
        ----------
        measures : (N, C, K)
        """
        far, sparse = self.distances(measures)
        return np.maximum(far / self.farthest, sparse / self.sparsest)

    def distances(self, measures: Floats) -> tuple[Floats, Floats]:
        """Distance of each cell from the training cells nearest to it, in two figures: (N,) each.

        The first is the distance to the nearest few; the second is relative to the distance that
        these have from their own neighbours, which is small where training cells lie close
        together (as the local outlier factor, Breunig et al., SIGMOD 2000).
        """
        squares = self._squares(self._points_of(measures))
        nearest = np.argpartition(squares, self._few - 1, axis=1)[:, : self._few]
        near = np.take_along_axis(squares, nearest, 1)
        far: Floats = np.sqrt(np.maximum(near.max(1), 0))
        sparse = (far / np.median(self._spacing[nearest], axis=1)).astype(np.float32)
        return far, sparse

    @cached_property
    def ranges(self) -> NDArray[np.float64]:
        """Measures that 1 %, 50 % and 99 % of the training cells lie below: (3, C, K)."""
        return np.quantile(self.reference, [0.01, 0.5, 0.99], axis=0)

    @property
    def _few(self) -> int:
        return min(_NEIGHBOURS, max(1, len(self.reference) // 10))

    @cached_property
    def _normal_scores(self) -> NormalScores:
        return NormalScores(self.reference)

    @cached_property
    def _points(self) -> Floats:
        return self._points_of(self.reference)

    @cached_property
    def _spacing(self) -> Floats:
        """Distance of each training cell from the nearest few others: (M,)."""
        place = min(self._few, len(self._points) - 1)
        squares = np.partition(self._squares(self._points), place, axis=1)[:, place]
        spacing = np.sqrt(np.maximum(squares, 0))
        # Copies of a cell lie at no distance.
        raised: Floats = spacing + np.float32(0.05 * np.median(spacing) + 1e-6)
        return raised

    def _points_of(self, measures: Floats) -> Floats:
        points: Floats = self._normal_scores(measures) @ self.whitening
        return points

    def _squares(self, points: Floats) -> Floats:
        """Squared distances (N, M) of points from the training cells."""
        squares: Floats = (points**2).sum(1)[:, None] + (self._points**2).sum(1)
        squares -= 2 * points @ self._points.T
        return squares
