"""Paths cut into panels that are refined where it is needed: what all ways of doing so share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from cellcam.explain.integral import Formula, differ
from cellcam.explain.walking import AtPoints, Paths, Walker

# Parts of an interval in the middle of which the integrand is taken.
PARTS = 4


class Refinement(ABC):
    """N paths with P panels each; panel j has the nodes 2j, 2j + 1 and 2j + 2.

    Attributes
    ----------
    rows : (N,) which paths
    nodes : (N, 2 P + 1) positions
    vary : (N, K) whether the mean gradients differed so far
    margin : estimated error over the root of the summed squares of what is in doubt
    first_panels : how many a path begins with
    """

    margin: float
    first_panels = 1

    def __init__(self, walker: Walker, paths: Paths, formula: Formula) -> None:
        self.walker, self.paths, self.formula = walker, paths, formula
        self.rows = torch.arange(len(paths), device=paths.end.device)
        first = torch.linspace(0, 1, 2 * self.first_panels + 1).to(paths.at_end.score)
        self.nodes = first.repeat(len(paths), 1)
        self.vary = torch.zeros_like(paths.at_end.classes, dtype=torch.bool)

    @property
    def n_panels(self) -> int:
        """How many panels each path has."""
        return self.nodes.shape[1] // 2

    @property
    def n_evaluations(self) -> int:
        """Points of each path that were evaluated, the baseline apart."""
        return 2 * self.n_panels

    def all_panels(self) -> Tensor:
        """Every panel of every path: (N, P)."""
        return torch.arange(self.n_panels, device=self.rows.device).repeat(len(self.rows), 1)

    def widths(self, n_pieces: int) -> Tensor:
        """Extent of each piece, be it a panel or an interval: (N, pieces)."""
        return self.nodes[:, :: (self.nodes.shape[1] - 1) // n_pieces].diff(dim=1)

    def worst_panels(self, doubt: Tensor) -> Tensor:
        """Panels (N, Q) to cut, given the doubt (N, pieces, K) about each piece."""
        if self.n_panels < 4:
            return self.all_panels()
        by_panel = doubt.amax(2).unflatten(1, (self.n_panels, -1)).sum(2)
        return by_panel.topk(max(2, self.n_panels // 4), dim=1).indices.sort(1).values

    def cut(self, panels: Tensor) -> None:
        """Make two panels of each of ``panels`` (N, Q, ascending): two more nodes."""
        left = torch.stack([2 * panels, 2 * panels + 1], 2).flatten(1)
        middle = (self.nodes.gather(1, left) + self.nodes.gather(1, left + 1)) / 2
        nodes, order = torch.cat([self.nodes, middle], 1).sort(1)
        self._cut(panels, left, middle, order)
        self.nodes = nodes

    def points_at(self, positions: Tensor) -> Iterator[tuple[AtPoints, Tensor, slice]]:
        """The network at ``positions`` (N, M), a batch at a time.

        With each batch come its paths (m,) and its place among the N M positions. Whether the
        mean gradients vary is noted.
        """
        rows = self.rows.repeat_interleave(positions.shape[1])
        end, vary = self.paths.at_end.point.weights, []
        for part in self.walker.batches(len(rows)):
            point = self.walker.values(self.paths, rows[part], positions.flatten()[part])
            vary.append(differ(point.weights, end[rows[part]]))
            yield point, rows[part], part
        self.vary |= torch.cat(vary).unflatten(0, positions.shape).any(1)

    def keep(self, mask: Tensor) -> None:
        """Go on with these paths only."""
        self.rows, self.nodes, self.vary = self.rows[mask], self.nodes[mask], self.vary[mask]

    @abstractmethod
    def integrals(self) -> tuple[Tensor, Tensor, Tensor]:
        """Maps (N, K, U); what each piece leaves in doubt (N, pieces, K); line integral (N, K)."""

    @abstractmethod
    def _cut(self, panels: Tensor, left: Tensor, middle: Tensor, order: Tensor) -> None:
        """Evaluate the ``middle`` (N, 2 Q) of the intervals that begin at node ``left``.

        ``order`` brings old nodes and new ones, one after the other, into that of the path.
        """


def positive_part(best: Tensor, rough: Tensor) -> tuple[Tensor, Tensor]:
    """Positive part of ``best``, and its error if ``best`` errs by its distance from ``rough``."""
    doubt = (best - rough).abs()
    # Somewhat below zero it may be positive for all that is known.
    return best.relu(), torch.minimum(doubt, (best + 4 * doubt).relu())


def middles(n: int, like: Tensor) -> Tensor:
    """Middles of n equal parts of [0, 1]."""
    return (torch.arange(n, device=like.device, dtype=like.dtype) + 0.5) / n


def edges(n: int, like: Tensor) -> Tensor:
    """Edges of n equal parts of [0, 1]."""
    return torch.arange(n + 1, device=like.device, dtype=like.dtype) / n


def across(index: Tensor) -> Tensor:
    """Row numbers (N, 1), to index with ``index`` (N, Q) along the second axis."""
    return torch.arange(len(index), device=index.device).unsqueeze(1)


def sorted_in(order: Tensor, old: Tensor, new: Tensor) -> Tensor:
    """Old and new values (N, M, ...) in the given order (N, M)."""
    return torch.cat([old, new], 1)[across(order), order]


def in_place_of(index: Tensor, old: Tensor, new: Tensor) -> Tensor:
    """Of ``old`` (N, M, ...) those at ``index`` (N, Q, ascending) with two of ``new`` instead."""
    other = torch.ones(old.shape[:2], dtype=torch.bool, device=old.device)
    other[across(index), index] = False
    kept = other.nonzero()[:, 1].view(len(index), -1)
    order = torch.cat([2 * kept, 2 * index, 2 * index + 1], 1)
    halves = new.unflatten(1, (-1, 2)).transpose(1, 2).flatten(1, 2)
    return torch.cat([old[across(kept), kept], halves], 1)[across(order), order.argsort(1)]
