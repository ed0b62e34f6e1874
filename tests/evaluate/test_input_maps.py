from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import sobel
from torch import nn

from cellcam.evaluate.input_maps import edge_filter, expected_gradients


def test_expected_gradients_of_a_linear_network_are_weight_times_distance() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(2 * 9, 2))
    x, reference = torch.rand(2, 3, 2, 3, 3)
    classes = torch.tensor([0, 1, 1])
    maps = expected_gradients(network, reference[:1]).maps(x, classes)
    weight = network[1].weight.detach()[classes].view(3, 2, 3, 3)
    expected = (weight * (x - reference[:1])).sum(1).clamp(min=0)
    torch.testing.assert_close(maps, expected)


def test_expected_gradients_add_up_to_the_score_less_its_mean_over_references() -> None:
    class Squares(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x**2).flatten(1).sum(1, keepdim=True)

    torch.manual_seed(0)
    # Brighter than all references, so that no pixel is negative.
    x, references = 2 + torch.rand(64, 1, 2, 2), torch.rand(5, 1, 2, 2)
    maps = expected_gradients(Squares(), references).maps(x, torch.zeros(64).long())
    exact = (x**2).sum((1, 2, 3)) - (references**2).sum((1, 2, 3)).mean()
    # 50 draws of each of 64 images.
    assert abs(maps.sum((1, 2)).mean() / exact.mean() - 1) < 0.01


def test_the_edge_filter_shows_edges_whatever_the_class() -> None:
    x = torch.zeros(2, 2, 8, 8)
    x[:, 1, :, 4:] = 3
    maps = edge_filter().maps(x, torch.tensor([0, 1]))
    plane = x[0, 1].numpy()
    np.testing.assert_allclose(maps[0], np.hypot(sobel(plane, 0), sobel(plane, 1)), rtol=1e-6)
    assert torch.equal(maps[0], maps[1])
    assert (maps[0] > 0).any(0).tolist() == [i in (3, 4) for i in range(8)]
