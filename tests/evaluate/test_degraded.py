from __future__ import annotations

import numpy as np
import pytest

from cellcam.evaluate.degraded import BLURS, EXPOSURES, NOISES, degraded


def crops(dtype: type = np.uint8) -> np.ndarray:
    """Five crops of two channels; a square of 200 on 10, and a square of 50 on 20."""
    pixels = np.zeros((5, 2, 16, 16), dtype)
    pixels[:, 0], pixels[:, 1] = 10, 20
    pixels[:, 0, 4:12, 4:12], pixels[:, 1, 4:12, 4:12] = 200, 50
    return pixels


def changed(pixels: np.ndarray, name: str) -> np.ndarray:
    found = {change.name: change.crops for change in degraded(pixels, ("DNA", "actin"))}
    return found[name]


def test_every_level_of_every_change_is_made_once() -> None:
    names = [change.name for change in degraded(crops(), ("DNA", "actin"))]
    assert len(set(names)) == len(names) == len(EXPOSURES) + len(BLURS) + len(NOISES) + 2


def test_exposure_multiplies_counts_and_saturates_like_a_camera() -> None:
    brighter = changed(crops(), "exposure x 2")
    assert brighter.dtype == np.uint8
    assert np.unique(brighter[:, 0]).tolist() == [20, 255]
    assert np.unique(brighter[:, 1]).tolist() == [40, 100]


def test_blur_keeps_the_light_and_lowers_the_peaks() -> None:
    blurred = changed(crops(np.float32), "blur 1 px")
    assert blurred.max() < 200
    np.testing.assert_allclose(blurred.sum((2, 3)), crops().sum((2, 3), dtype=float), rtol=1e-3)


def test_noise_is_a_part_of_the_spread_of_its_channel() -> None:
    many = np.tile(crops(np.float32), (40, 1, 1, 1))
    noise = changed(many, "noise 40%") - many
    expected = 0.4 * many.std((0, 2, 3))
    np.testing.assert_allclose(noise.std((0, 2, 3)), expected, rtol=0.02)


def test_a_lost_stain_shows_the_empty_field_and_the_other_stays() -> None:
    lost = changed(crops(), "without DNA")
    assert np.unique(lost[:, 0]).tolist() == [10]
    np.testing.assert_array_equal(lost[:, 1], crops()[:, 1])


def test_of_one_channel_no_stain_is_lost() -> None:
    assert "lost stain" not in {change.kind for change in degraded(crops()[:, :1], ("DNA",))}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_volumes_keep_their_shape_and_type(dtype: type) -> None:
    volume = np.repeat(crops(dtype)[:, :, None], 3, axis=2)
    for change in degraded(volume, ("DNA", "actin")):
        assert change.crops.shape == volume.shape
        assert change.crops.dtype == dtype
