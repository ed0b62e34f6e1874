"""Tiles of a field for networks that see a fixed number of pixels.

The tiles begin at the corner of the field, not of the block that is read. So the network sees the
same tiles whichever block asks, and a pixel gets the same answer in every block that holds all
tiles over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.no_data import Mask
from cellcam.stacks.blocks import Part

Answers = NDArray[np.float32]


@dataclass(frozen=True)
class Tiles:
    """Overlapping square tiles of a field (Y, X).

    Attributes
    ----------
    whole : shape of the field
    edge : pixels along y and x of a tile; smaller fields are one tile, filled up by zeros
    step : pixels from one tile to the next
    """

    whole: tuple[int, ...]
    edge: int
    step: int

    def inside(self, part: Part) -> list[tuple[int, int]]:
        """First y and x of the tiles that lie in a part of the field."""
        along = [
            [start for start in starts if a <= start and min(start + self.edge, n) <= b]
            for starts, a, b, n in zip(
                self._starts(), part.start, part.stop, self.whole, strict=True
            )
        ]
        ys, xs = along
        return list(product(ys, xs))

    def covered(self, part: Part) -> Mask:
        """Pixels of a part all of whose tiles lie in it: bool of its shape."""
        along = []
        for starts, a, b, n in zip(self._starts(), part.start, part.stop, self.whole, strict=True):
            known = np.ones(n, bool)
            for start in starts:
                if start < a or min(start + self.edge, n) > b:
                    known[start : start + self.edge] = False
            along.append(known[a:b])
        return np.logical_and.outer(*along)

    def cut(self, image: NDArray[np.float32], part: Part, at: tuple[int, int]) -> Answers:
        """A tile (C, edge, edge) of the image (C, Y, X) of a part."""
        tile = np.zeros((len(image), self.edge, self.edge), np.float32)
        y, x = (slice(a - b, a - b + self.edge) for a, b in zip(at, part.start, strict=True))
        found = image[:, y, x]
        tile[:, : found.shape[1], : found.shape[2]] = found
        return tile

    def joined(
        self, answers: Sequence[Answers], places: Sequence[tuple[int, int]], part: Part
    ) -> Answers:
        """Mean of the answers (C, edge, edge) of tiles in a part: (C, *part.shape).

        A pixel counts less the closer it lies to the rim of its tile. 0 where no tile is.
        """
        depth = np.minimum(np.arange(self.edge), np.arange(self.edge)[::-1]) + 1
        weight = np.minimum.outer(depth, depth).astype(np.float32)
        total = np.zeros((len(answers[0]) if len(answers) else 0, *part.shape), np.float32)
        weights = np.zeros(part.shape, np.float32)
        for answer, at in zip(answers, places, strict=True):
            y, x = (slice(a - b, a - b + self.edge) for a, b in zip(at, part.start, strict=True))
            height, width = weights[y, x].shape
            total[:, y, x] += (answer * weight)[:, :height, :width]
            weights[y, x] += weight[:height, :width]
        total /= np.maximum(weights, np.float32(1e-6))
        return total

    def _starts(self) -> list[list[int]]:
        """First pixels of the tiles along y and x; the last tile ends with the field."""
        starts = []
        for n in self.whole:
            last = max(0, n - self.edge)
            starts.append(sorted({*range(0, last, self.step), last}))
        return starts
