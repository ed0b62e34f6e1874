from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from monai.networks.blocks import Convolution

from cellcam.models.small_cnn import SmallCNN


@pytest.mark.parametrize("dims", [2, 3])
def test_its_convolutions_are_monais(dims: int) -> None:
    torch.manual_seed(0)
    ours = SmallCNN(dims, 2, 3, (1, 2), (4, 8)).features[0].eval()
    torch.manual_seed(0)
    theirs = Convolution(dims, 2, 4, adn_ordering="NA", act="relu", norm="batch").eval()
    x = torch.randn(2, 2, *[7] * dims)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)


def test_a_model_of_small_cells_is_built_without_monai() -> None:
    code = (
        "import sys; from cellcam.models.registry import build_network; "
        "build_network('cell_cnn', 2, 1, 2); sys.exit('monai' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
