from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import label, regionprops

from cellcam.evaluate.mean_cell import long_axis_degrees, mean_picture


def ellipse(degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    y, x = np.mgrid[-20:21, -20:21].astype(float)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return (along / 15) ** 2 + (across / 6) ** 2 < 1


@pytest.mark.parametrize("degrees", [-60, -10, 0, 35, 80])
def test_the_long_axis_is_that_of_scikit_image(degrees: float) -> None:
    found = long_axis_degrees(ellipse(degrees))
    assert found == pytest.approx(degrees, abs=1)
    orientation = regionprops(label(ellipse(degrees)))[0].orientation
    theirs = (90 - np.degrees(orientation) + 90) % 180 - 90
    assert (found - theirs + 90) % 180 - 90 == pytest.approx(0, abs=1e-3)


def test_turned_cells_lie_on_top_of_each_other() -> None:
    cells = np.stack([ellipse(d) for d in (-70, -20, 10, 55)])
    together = mean_picture(cells[:, None].astype(float), cells)[0]
    apart = mean_picture(cells[:, None].astype(float))[0]
    assert np.abs(together - ellipse(0)).mean() < 0.03
    assert np.abs(apart - ellipse(0)).mean() > 0.1
