from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from cellcam.reporting.cell_pictures import ShownCell, cell_picture, composite_image
from cellcam.reporting.colours import under_importance


def test_constant_channels_draw_black() -> None:
    assert not composite_image(np.full((2, 8, 8), 7.0)).any()


@pytest.mark.fault("NaN and infinite pixels in a picture of a cell", "black, without a warning")
def test_pixels_without_data_are_black() -> None:
    pixels = np.random.default_rng(0).uniform(1, 2, (2, 8, 8)).astype(np.float32)
    pixels[:, :4], pixels[:, 4, 0] = np.nan, np.inf
    drawn = composite_image(pixels)
    assert np.isfinite(drawn).all()
    assert not drawn[:4].any()
    assert drawn[5:].any()
    assert not composite_image(np.full((2, 8, 8), np.nan)).any()


@pytest.mark.fault("a cell without a map in a report", "its picture has no evidence panel")
def test_a_cell_that_was_not_explained_has_one_panel() -> None:
    crop = np.random.default_rng(0).poisson(50, (2, 8, 8))
    for n_maps in (0, 1):
        drawn = cell_picture(ShownCell(crop, np.ones((n_maps, 8, 8), np.float32), ""))
        assert drawn["panels"] == str(1 + n_maps)
        picture = Image.open(io.BytesIO(base64.b64decode(drawn["picture"])))
        assert picture.width == 8 + n_maps * 10


def test_nothing_is_drawn_of_an_empty_map() -> None:
    grey = np.random.default_rng(0).uniform(0, 1, (8, 8, 1)).astype(np.float32)
    drawn = under_importance(grey, np.zeros((8, 8), np.float32))
    np.testing.assert_array_equal(drawn, np.broadcast_to(grey, (8, 8, 3)))
