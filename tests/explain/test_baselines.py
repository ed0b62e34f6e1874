"""Where paths begin: by name, number, tensor or function."""

from __future__ import annotations

import pytest
import torch
from support.networks import images, small_network

from cellcam import IntegratedGradCAM
from cellcam.explain.baselines import baseline_images, blurred, border_level


def test_black_is_what_zero_counts_become() -> None:
    network, x = small_network(), images()
    named = IntegratedGradCAM(network, black=torch.full((1, 3, 1, 1), -0.7))(x, n_steps=3)
    given = IntegratedGradCAM(network, baselines=-0.7)(x, n_steps=3)
    torch.testing.assert_close(named.maps, given.maps)


def test_background_is_the_median_of_the_border() -> None:
    x = torch.zeros(1, 2, 5, 7)
    x[0, 0] = 3.0
    x[0, 0, 1:4, 1:6] = 100.0
    assert border_level(x)[0, :, 0, 0].tolist() == [3.0, 0.0]
    assert (baseline_images("background", x)[0, 0] == 3.0).all()


@pytest.mark.parametrize("shape", [(9, 11), (7, 9, 8)])
def test_blur_is_scipys(shape: tuple[int, ...]) -> None:
    from scipy.ndimage import gaussian_filter

    x = torch.rand(1, 1, *shape, dtype=torch.float64)
    peer = gaussian_filter(x[0, 0].numpy(), 1.3, mode="nearest", radius=4)
    torch.testing.assert_close(blurred(x, 1.3)[0, 0], torch.from_numpy(peer))


def test_a_function_of_the_images() -> None:
    network, x = small_network(), images()
    by_function = IntegratedGradCAM(network)(x, baselines=lambda x: x / 2, n_steps=3)
    by_tensor = IntegratedGradCAM(network)(x, baselines=x / 2, n_steps=3)
    torch.testing.assert_close(by_function.maps, by_tensor.maps)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="blur"):
        IntegratedGradCAM(small_network())(images(), baselines="grey")
