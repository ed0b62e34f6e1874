from __future__ import annotations

import pytest
import torch

from cellcam.errors import UsageError
from cellcam.explain.network.target import Target, split_network
from cellcam.models.registry import build_network, network_entry, network_names

ENTRIES = [(name, d, c) for d, c in ((2, 1), (2, 5), (3, 2)) for name in network_names(d)]


@pytest.mark.parametrize(("name", "spatial_dims", "in_channels"), ENTRIES)
def test_every_network_gives_scores_and_maps_with_extent(
    name: str, spatial_dims: int, in_channels: int
) -> None:
    entry = network_entry(name)
    network = build_network(name, spatial_dims, in_channels, 6).eval()
    x = torch.rand(1, in_channels, *[64] * spatial_dims)
    with torch.no_grad():
        assert network(x).shape == (1, 6)
    split = split_network(network, Target(entry.target_layer), x)
    layout = split.layout
    assert len(layout.space) == spatial_dims
    assert layout.space.numel() > 1
    places = layout.n_others + layout.space.numel()
    assert layout.arranged(split.activations(x)).shape == (1, layout.n_features, places)


def test_an_unknown_network_is_refused_with_the_known_names() -> None:
    with pytest.raises(UsageError, match="small_cnn, cell_cnn, stain_cnn, densenet121"):
        build_network("resnet1", 2, 1, 2)
    with pytest.raises(UsageError, match="does not come in 3-D"):
        build_network("tv_resnet18", 3, 1, 2)
