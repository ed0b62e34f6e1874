from __future__ import annotations

import numpy as np

from cellcam.reporting.cell_pictures import composite_image


def test_constant_channels_draw_black() -> None:
    assert not composite_image(np.full((2, 8, 8), 7.0)).any()
