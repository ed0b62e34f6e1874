from __future__ import annotations

import numpy as np
import pytest

from cellcam.cells.network_tiles import Tiles
from cellcam.stacks.blocks import Part


@pytest.mark.parametrize("shape", [(5, 30), (16, 16), (17, 40), (53, 61)])
def test_tiles_cover_the_field(shape: tuple[int, int]) -> None:
    tiles, whole = Tiles(shape, 16, 12), Part.all_of(shape)
    places = tiles.inside(whole)
    count = np.zeros(shape, int)
    for y, x in places:
        count[y : y + 16, x : x + 16] += 1
    assert count.min() >= 1
    assert tiles.covered(whole).all()


@pytest.mark.parametrize("shape", [(5, 30), (17, 40), (53, 61)])
def test_what_was_cut_is_joined_again(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random((2, *shape), np.float32)
    tiles, whole = Tiles(shape, 16, 12), Part.all_of(shape)
    places = tiles.inside(whole)
    joined = tiles.joined([tiles.cut(image, whole, at) for at in places], places, whole)
    np.testing.assert_allclose(joined, image, rtol=1e-6)


def test_a_part_gets_the_answers_of_the_field_where_its_tiles_are_whole() -> None:
    """Each tile answers with its own number, so that any other tile would show."""
    shape = (90, 75)
    tiles, whole = Tiles(shape, 16, 12), Part.all_of(shape)

    def answers(part: Part) -> np.ndarray:
        places = tiles.inside(part)
        numbers = [np.full((1, 16, 16), y * 1000 + x, np.float32) for y, x in places]
        return tiles.joined(numbers, places, part)

    expected = answers(whole)
    for part in [Part((10, 0), (70, 44), shape), Part((37, 31), (90, 75), shape)]:
        known = tiles.covered(part)
        assert 0.2 < known.mean() < 1
        np.testing.assert_array_equal(answers(part)[:, known], expected[:, *part.slices][:, known])
        # A tile that hangs over the rim makes the pixels under it unknown.
        for y, x in set(tiles.inside(whole)) - set(tiles.inside(part)):
            under = np.zeros(shape, bool)
            under[y : y + 16, x : x + 16] = True
            assert not (known & under[part.slices]).any()
