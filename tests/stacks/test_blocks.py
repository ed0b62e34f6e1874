from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from cellcam import Stack, open_stack
from cellcam.stacks.blocks import Part, block_shape, blocks_of, reading_chunks, sample_parts


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"tile": (256, 256)}, (2048, 2048)),
        ({"tile": (240, 240)}, (2160, 2160)),
        ({"rowsperstrip": 16}, (512, 3000)),
        ({"rowsperstrip": 100}, (500, 3000)),
    ],
)
def test_blocks_follow_the_storage(
    tmp_path: Path, how: dict[str, int], expected: tuple[int, int]
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((600, 3000), np.uint8), compression="zlib", **how)
    assert block_shape(open_stack(tmp_path / "a.tif")) == expected


@pytest.mark.parametrize("shape", [(5000, 4100), (100, 100), (2048, 4096)])
def test_blocks_tile_the_field_and_are_read_with_their_border(shape: tuple[int, int]) -> None:
    stack = Stack.from_array(np.broadcast_to(np.uint8(0), shape), "YX")
    seen = np.zeros(shape, np.uint8)
    for block in blocks_of(stack, 70):
        seen[block.core.slices] += 1
        assert block.read == block.core.grown(70)
        assert block.core.within(block.read)[0].start == min(70, block.core.start[0])
    assert (seen == 1).all()


def test_samples_are_spread_over_the_field() -> None:
    parts = sample_parts((10000, 8000), 2**24, 1024)
    assert len(parts) == 16
    assert {part.shape for part in parts} == {(1024, 1024)}
    assert min(part.start[0] for part in parts) > 0
    assert max(part.stop[1] for part in parts) < 8000
    assert sample_parts((100, 200), 2**24, 1024) == [Part.all_of((100, 200))]


@pytest.mark.parametrize(
    ("axes", "shape", "stored", "chunks"),
    [
        ("YXS", (60, 90, 3), (1, 90, 3), ((60,), (90,), (3,))),
        ("SYX", (3, 60, 90), (1, 1, 90), ((1, 1, 1), (60,), (90,))),
        ("TYXC", (2, 60, 90, 4), (1, 1, 90, 4), ((1, 1), (60,), (90,), (4,))),
    ],
)
def test_samples_of_a_pixel_are_read_with_it_and_strips_together(
    axes: str, shape: tuple[int, ...], stored: tuple[int, ...], chunks: object
) -> None:
    assert reading_chunks(axes, shape, np.dtype(np.uint8), stored) == chunks
