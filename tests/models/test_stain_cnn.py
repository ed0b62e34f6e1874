from __future__ import annotations

import torch

from cellcam.models.registry import build_network
from cellcam.models.stain_cnn import FEATURES


def test_a_stain_changes_its_own_features_alone() -> None:
    torch.manual_seed(0)
    network = build_network("stain_cnn", 2, 3, 4).eval()
    x = torch.rand(1, 3, 24, 24)
    other = x.clone()
    other[:, 1] = torch.rand(24, 24)
    body, describe = network.get_submodule("features"), network.get_submodule("describe")
    change = (describe(body(other)) - describe(body(x))).view(3, FEATURES).abs().amax(1)
    assert change[1] > 1e-6
    assert change[0] == change[2] == 0
