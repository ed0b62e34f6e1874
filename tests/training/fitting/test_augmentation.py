from __future__ import annotations

import torch
from cellcam_training.fitting.augmentation import Augmentation, augmented

BATCH = torch.rand(64, 2, 12, 12, generator=torch.Generator().manual_seed(0))


def changed(batch: torch.Tensor = BATCH, **settings: object) -> torch.Tensor:
    """The batch with these augmentations only."""
    nothing = {"flips": False, "rotation_degrees": 0, "scaling": 0, "shift": 0,
               "brightness": 0, "background": 0, "blur": 0, "noise": 0}  # fmt: skip
    random = torch.Generator().manual_seed(0)
    return augmented(batch, Augmentation(**{**nothing, **settings}), random)


def test_without_augmentations_a_batch_is_unchanged() -> None:
    assert torch.equal(changed(), BATCH)


def test_flips_move_pixels_but_keep_their_values() -> None:
    flipped = changed(flips=True)
    assert not torch.equal(flipped, BATCH)
    for after, before in zip(flipped.flatten(2), BATCH.flatten(2), strict=True):
        assert torch.equal(after.sort().values, before.sort().values)


def test_all_eight_flips_and_quarter_turns_occur() -> None:
    image = torch.arange(4.0).view(1, 1, 2, 2)
    batch = image.repeat(400, 1, 1, 1)
    assert len({tuple(turned.flatten().tolist()) for turned in changed(batch, flips=True)}) == 8


def test_resampling_without_rotation_scaling_or_shift_is_exact() -> None:
    turned = changed(scaling=0.0, rotation_degrees=1e-6)
    torch.testing.assert_close(turned, BATCH, atol=1e-4, rtol=1e-4)


def test_brightness_is_a_factor_for_each_channel() -> None:
    factor = changed(brightness=0.1) / BATCH
    assert factor.amax((2, 3)).allclose(factor.amin((2, 3)), rtol=1e-4)
    assert factor.min() >= 0.9
    assert factor.max() <= 1.1


def test_background_is_a_shift_for_each_channel() -> None:
    shift = changed(background=0.5) - BATCH
    assert shift.amax((2, 3)).allclose(shift.amin((2, 3)), atol=1e-6)
    assert 0.3 < shift.abs().max() <= 0.5


def test_half_of_the_images_are_blurred() -> None:
    blurred = changed(blur=2.0)
    same = (blurred == BATCH).flatten(1).all(1)
    assert same.sum() == 32
    sharpness = torch.stack([image.std() for image in blurred[~same]])
    assert (sharpness < 0.9 * BATCH.std()).all()
    torch.testing.assert_close(blurred.mean((2, 3)), BATCH.mean((2, 3)), atol=0.1, rtol=0)


def test_missing_stains_are_blank_or_blurred_and_never_all_of_an_image() -> None:
    missing = changed(missing_stain=0.5)
    same = (missing == BATCH).flatten(2).all(2)
    assert 0.6 < same.float().mean() < 0.9  # a quarter of all stains
    assert same.any(1).all()
    spread = missing.flatten(2).std(2)[~same]
    assert (spread < 0.2).all()  # uniform noise from 0 to 1 has 0.29
    assert (spread == 0).any()
    assert (spread > 0).any()


def test_volumes_are_flipped() -> None:
    batch = torch.rand(8, 1, 4, 6, 6)
    assert changed(batch, flips=True, rotation_degrees=45).shape == batch.shape
