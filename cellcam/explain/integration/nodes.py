"""Nodes of paths that are refined where the integrand bends."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class NewNodes(NamedTuple):
    """M new nodes of each of N paths, each in the middle of an interval."""

    rows: Tensor  # (N,) numbers of the paths
    positions: Tensor  # (N, M) in [0, 1]
    left: Tensor  # (N, M) number of the node at the beginning of the interval
    right: Tensor  # (N, M) number of the node at its end
    first: int  # number of the first new node


class Nodes:
    """Nodes of N paths, numbered in the order of their evaluation: 0 is the baseline, 1 the image.

    Along the path they form panels of two intervals. A panel is refined by a node in the middle of
    each of its intervals, which makes it two panels.
    """

    def __init__(self, n_paths: int, like: Tensor) -> None:
        self.rows = torch.arange(n_paths, device=like.device)  # (N,) numbers of the paths
        self.positions = like.new_tensor([0.0, 1.0]).repeat(n_paths, 1)  # (N, n) by node number
        self.order = self.positions.argsort(1)  # (N, n) node numbers along the path

    @property
    def n_panels(self) -> int:
        """Number of panels of each path."""
        return (self.positions.shape[1] - 1) // 2

    @property
    def n_evaluations(self) -> int:
        """Number of points of each path that were evaluated, the baseline apart."""
        return self.positions.shape[1] - 1

    def along_path(self) -> Tensor:
        """Positions (N, n) in ascending order."""
        return self.positions.gather(1, self.order)

    def refine_all(self) -> NewNodes:
        """Add a node in the middle of every interval."""
        return self._refine(torch.arange(self.n_evaluations, device=self.rows.device))

    def refine_worst(self, doubt: Tensor) -> NewNodes:
        """Refine the quarter of the panels with the largest ``doubt`` (N, intervals, K)."""
        if self.n_panels < 4:
            return self.refine_all()
        by_panel = doubt.amax(2).unflatten(1, (self.n_panels, -1)).sum(2)
        worst = by_panel.topk(max(2, self.n_panels // 4), dim=1).indices
        return self._refine(torch.stack([2 * worst, 2 * worst + 1], 2).flatten(1).sort(1).values)

    def keep(self, mask: Tensor) -> None:
        """Drop the paths outside ``mask`` (N,)."""
        self.rows, self.positions = self.rows[mask], self.positions[mask]
        self.order = self.order[mask]

    def _refine(self, intervals: Tensor) -> NewNodes:
        """Add a node in ``intervals`` (M,) or (N, M), which are counted along the path."""
        intervals = intervals.expand(len(self.rows), -1)
        left, right = self.order.gather(1, intervals), self.order.gather(1, intervals + 1)
        middle = (self.positions.gather(1, left) + self.positions.gather(1, right)) / 2
        new = NewNodes(self.rows, middle, left, right, self.positions.shape[1])
        self.positions = torch.cat([self.positions, middle], 1)
        self.order = self.positions.argsort(1)
        return new
