"""Parts of a field: blocks that are read with a border, and each owned by one worker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from cellcam.stacks.stack import Stack

# Edge of a block in pixels, before it is made to follow the file's storage.
BLOCK_EDGE = 2048


@dataclass(frozen=True)
class Part:
    """A box of a field, half-open, in pixels.

    Attributes
    ----------
    start, stop : corners, one number for each axis
    whole : shape of the field
    """

    start: tuple[int, ...]
    stop: tuple[int, ...]
    whole: tuple[int, ...]

    @classmethod
    def all_of(cls, shape: Sequence[int]) -> Part:
        """The whole field."""
        return cls((0,) * len(shape), tuple(shape), tuple(shape))

    @property
    def shape(self) -> tuple[int, ...]:
        """Its size along each axis."""
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))

    @property
    def slices(self) -> tuple[slice, ...]:
        """What cuts it out of the field."""
        return tuple(map(slice, self.start, self.stop))

    def within(self, other: Part) -> tuple[slice, ...]:
        """What cuts it out of an array that holds ``other``."""
        return tuple(
            slice(a - first, b - first)
            for a, b, first in zip(self.start, self.stop, other.start, strict=True)
        )

    def grown(self, border: int) -> Part:
        """With a border on every side, as far as the field goes."""
        return Part(
            tuple(max(0, a - border) for a in self.start),
            tuple(min(n, b + border) for b, n in zip(self.stop, self.whole, strict=True)),
            self.whole,
        )

    def at_scale(self, whole: Sequence[int]) -> Part:
        """The pixels of the field resized to ``whole`` that this part covers."""
        factors = [new / old for new, old in zip(whole, self.whole, strict=True)]
        starts = [int(a * f) for a, f in zip(self.start, factors, strict=True)]
        stops = [-int(-b * f // 1) for b, f in zip(self.stop, factors, strict=True)]
        ends = [min(b, n) for b, n in zip(stops, whole, strict=True)]
        return Part(tuple(starts), tuple(ends), tuple(whole))

    def with_planes(self, n_planes: int) -> Part:
        """The same box through all planes of a volume."""
        return Part((0, *self.start), (n_planes, *self.stop), (n_planes, *self.whole))


@dataclass(frozen=True)
class Block:
    """A rectangle of a field that is worked on by itself.

    Attributes
    ----------
    core : (y, x) part that belongs to this block; the blocks of a field tile it
    read : the same with a border, so that cells are seen whole
    """

    core: Part
    read: Part

    @classmethod
    def all_of(cls, shape: Sequence[int]) -> Block:
        """One block that is the whole field."""
        whole = Part.all_of(tuple(shape)[-2:])
        return cls(whole, whole)


def block_edge(stored: tuple[int, int] | None) -> int:
    """Edge of a block: about 2048 pixels, in whole tiles where the file is tiled.

    Parameters
    ----------
    stored : (y, x) pixels that the file stores together
    """
    tile = stored[1] if stored and stored[0] == stored[1] else 1
    return max(1, round(BLOCK_EDGE / tile)) * tile if tile <= 2 * BLOCK_EDGE else BLOCK_EDGE


def rows_of_blocks(stack: Stack, halo: int) -> Iterator[tuple[Block, ...]]:
    """Blocks that tile a field, grouped as they should be read.

    A tiled file is read block by block. Where the file stores full-width strips each row of
    blocks is a group, so that every strip is decompressed once.
    """
    shape: tuple[int, int] = stack.data.shape[-2:]
    edge = block_edge(stack.stored)
    by_row = stack.stored is not None and stack.stored[1] >= shape[1] > edge
    for y in range(0, shape[0], edge):
        row = [_block((y, x), edge, shape, halo) for x in range(0, shape[1], edge)]
        yield from [tuple(row)] if by_row else [(block,) for block in row]


def _block(start: tuple[int, int], edge: int, shape: tuple[int, int], halo: int) -> Block:
    stop = tuple(min(a + edge, n) for a, n in zip(start, shape, strict=True))
    core = Part(start, stop, shape)
    return Block(core, core.grown(halo))


def sample_parts(shape: Sequence[int], n_pixels: int, edge: int) -> list[Part]:
    """Squares spread evenly over a field, together about ``n_pixels``; all of it if it is smaller.

    The same field always gives the same squares.
    """
    height, width = shape
    if height * width <= n_pixels:
        return [Part.all_of(shape)]
    per_axis = max(1, round((n_pixels / edge**2) ** 0.5))
    edges = (min(edge, height), min(edge, width))
    starts = [
        [round((n - size) * (i + 0.5) / per_axis) for i in range(per_axis)]
        for n, size in zip(shape, edges, strict=True)
    ]
    return [
        Part((y, x), (y + edges[0], x + edges[1]), tuple(shape)) for y, x in product(*starts)
    ]
