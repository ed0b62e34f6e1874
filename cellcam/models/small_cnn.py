"""Small networks for small cells: stages of convolutions, each at half the resolution."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn


class SmallCNN(nn.Module):
    """Classifier whose last feature map is only a few times coarser than its input.

    Deeper networks end at 1/32: 2 x 2 positions for a crop of 64 pixels, too coarse for an
    organelle.

    Parameters
    ----------
    spatial_dims : 2 or 3
    in_channels, n_classes : int
    depths, widths : number of convolutions of each stage, and their channels

    Shapes
    ------
    (N, in_channels, *spatial) -> (N, n_classes); each spatial axis at least
    2 ** (number of stages - 1) pixels
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        n_classes: int,
        depths: Sequence[int],
        widths: Sequence[int],
    ) -> None:
        super().__init__()
        max_pool = nn.MaxPool2d if spatial_dims == 2 else nn.MaxPool3d
        global_pool = nn.AdaptiveAvgPool2d if spatial_dims == 2 else nn.AdaptiveAvgPool3d
        stages = nn.Sequential()
        width = in_channels
        for number, (depth, wider) in enumerate(zip(depths, widths, strict=True)):
            if number > 0:
                stages.append(max_pool(2))
            for _ in range(depth):
                stages.append(_convolution(spatial_dims, width, wider))
                width = wider
        self.features = stages
        self.head = nn.Sequential(
            global_pool(1),
            nn.Flatten(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(width, n_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Class scores (N, n_classes) before softmax."""
        scores: Tensor = self.head(self.features(x))
        return scores


def _convolution(spatial_dims: int, width: int, wider: int) -> nn.Module:
    """MONAI's `Convolution` with the same names; importing MONAI takes seconds and 330 MB."""
    convolution = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
    norm = nn.BatchNorm2d if spatial_dims == 2 else nn.BatchNorm3d
    after = OrderedDict[str, nn.Module](N=norm(wider), A=nn.ReLU())
    parts = OrderedDict[str, nn.Module](
        conv=convolution(width, wider, 3, padding=1), adn=nn.Sequential(after)
    )
    return nn.Sequential(parts)
