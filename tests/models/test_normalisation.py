from __future__ import annotations

import numpy as np

from cellcam.models.normalisation import Normalisation


def test_it_is_measured_on_all_pixels_of_the_chosen_crops() -> None:
    crops = np.random.default_rng(0).integers(0, 4000, (7, 3, 9, 9)).astype(np.uint16)
    found = Normalisation.measured(crops)
    np.testing.assert_allclose(found.offset, crops.mean((0, 2, 3)))
    np.testing.assert_allclose(found.scale, crops.std((0, 2, 3)))
    some = Normalisation.measured(crops, np.arange(7) < 4)
    np.testing.assert_allclose(some.offset, crops[:4].mean((0, 2, 3)))
