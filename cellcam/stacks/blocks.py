"""Parts of a field: boxes, and blocks that tile it and are read with a border."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from cellcam.errors import InputError
from cellcam.stacks.stack import Stack

if TYPE_CHECKING:
    import numpy as np

# Edge of a block in pixels, before it is rounded to the tiles of the file.
BLOCK_EDGE = 2048
_BAND_ROWS = 512
_CHUNK_BYTES = 2**24


def reading_chunks(
    axes: str, shape: tuple[int, ...], dtype: np.dtype[np.generic], stored: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    """Chunks in which a file is read: one plane each, large planes in blocks of 16 MiB.

    Axes after Y and X, such as colour samples, are stored pixel by pixel: they stay whole, since
    a part of them cannot be read without the rest.

    Parameters
    ----------
    axes : one letter for each axis
    stored : shape of a tile, strip or chunk of the file; chunks are multiples of it

    Returns
    -------
    sizes of the chunks along each axis

    Raises
    ------
    InputError
        If Y or X is missing.
    """
    from dask.array.core import normalize_chunks

    if not {"Y", "X"} <= set(axes):
        raise InputError(f"axes={axes!r} cannot be used: Y and X must be among them.")
    first, last = sorted((axes.index("Y"), axes.index("X")))
    wanted: list[int | str] = [1] * first + ["auto"] + [1] * (last - first - 1) + ["auto"]
    chunks: tuple[tuple[int, ...], ...] = normalize_chunks(
        (*wanted, *shape[last + 1 :]),
        shape=shape,
        limit=_CHUNK_BYTES,
        dtype=dtype,
        previous_chunks=stored,
    )
    return chunks


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
        """Size along each axis."""
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))

    @property
    def at_edge(self) -> tuple[bool, bool, bool, bool]:
        """Whether it lies at the top, bottom, left and right edge of the field."""
        (top, left), (bottom, right) = self.start[-2:], self.stop[-2:]
        height, width = self.whole[-2:]
        return top == 0, bottom == height, left == 0, right == width

    @property
    def slices(self) -> tuple[slice, ...]:
        """Index of this part in an array of the field."""
        return tuple(map(slice, self.start, self.stop))

    def within(self, other: Part) -> tuple[slice, ...]:
        """Index of this part in an array of the part ``other``."""
        return tuple(
            slice(a - first, b - first)
            for a, b, first in zip(self.start, self.stop, other.start, strict=True)
        )

    def grown(self, border: int) -> Part:
        """The part with a border on every side, clipped to the field."""
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
    """A rectangle of a field that is processed independently.

    Attributes
    ----------
    core : (y, x) pixels of this block; the cores of all blocks tile the field
    read : the core with a border, so that cells at its edge are whole
    """

    core: Part
    read: Part

    @classmethod
    def all_of(cls, shape: Sequence[int]) -> Block:
        """One block that is the whole field."""
        whole = Part.all_of(tuple(shape)[-2:])
        return cls(whole, whole)


def block_shape(stack: Stack) -> tuple[int, int]:
    """Size of a block, (y, x), in whole tiles or strips of the file, so that each is decoded once.

    Squares of about 2048 pixels where the file is tiled or its storage is unknown; bands of about
    512 rows where it stores strips.
    """
    width = stack.data.shape[-1]
    rows, columns = stack.stored or (1, 1)
    if columns >= width > BLOCK_EDGE:
        return max(1, round(_BAND_ROWS / rows)) * rows, width
    # Tiles of a TIFF are square multiples of 16 pixels; other storage does not limit the blocks.
    tile = columns if rows == columns <= BLOCK_EDGE and columns % 16 == 0 else 16
    edge = round(BLOCK_EDGE / tile) * tile
    return edge, edge


def blocks_of(stack: Stack, halo: int) -> list[Block]:
    """Blocks whose cores tile a field, each read with a border of ``halo`` pixels."""
    shape: tuple[int, int] = stack.data.shape[-2:]
    sizes = block_shape(stack)
    corners = product(*(range(0, n, size) for n, size in zip(shape, sizes, strict=True)))
    return [_block(start, sizes, shape, halo) for start in corners]


def _block(
    start: tuple[int, ...], sizes: tuple[int, int], shape: tuple[int, int], halo: int
) -> Block:
    stop = tuple(min(a + size, n) for a, size, n in zip(start, sizes, shape, strict=True))
    core = Part(start, stop, shape)
    return Block(core, core.grown(halo))


def sample_parts(shape: Sequence[int], n_pixels: int, edge: int) -> list[Part]:
    """Squares spread evenly over a field, with about ``n_pixels`` in all.

    A smaller field is one part. The same field always gives the same squares.
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
    return [Part((y, x), (y + edges[0], x + edges[1]), tuple(shape)) for y, x in product(*starts)]


def edge_parts(shape: Sequence[int], edge: int) -> list[Part]:
    """Squares at the corners of a field and in the middle of its sides."""
    places = [sorted({0, max(0, (n - edge) // 2), max(0, n - edge)}) for n in shape]
    middle = tuple(place[len(place) // 2] for place in places)
    starts = [start for start in product(*places) if start != middle]
    stops = [tuple(min(a + edge, n) for a, n in zip(s, shape, strict=True)) for s in starts]
    return [Part(a, b, tuple(shape)) for a, b in zip(starts, stops, strict=True)]
