"""A small network for small cells: three stages at full, half and quarter resolution."""

from __future__ import annotations

from monai.networks.blocks import Convolution
from torch import Tensor, nn

_WIDTHS = (16, 32, 64)


class SmallCNN(nn.Module):
    """Classifier whose last feature map is only four times coarser than its input.

    Deeper networks end at 1/32: two by two positions for a crop of 64 pixels, too coarse to
    point at an organelle. Each position here sees 32 pixels of the input.

    Parameters
    ----------
    spatial_dims : 2 or 3
    in_channels, n_classes : int

    Shapes
    ------
    (N, in_channels, *spatial) -> (N, n_classes), each spatial axis at least 4 long
    """

    def __init__(self, spatial_dims: int, in_channels: int, n_classes: int) -> None:
        super().__init__()
        max_pool = nn.MaxPool2d if spatial_dims == 2 else nn.MaxPool3d
        global_pool = nn.AdaptiveAvgPool2d if spatial_dims == 2 else nn.AdaptiveAvgPool3d
        stages = nn.Sequential()
        width = in_channels
        for number, wider in enumerate(_WIDTHS, start=1):
            if number > 1:
                stages.append(max_pool(2))
            stages.append(_convolution(spatial_dims, width, wider))
            stages.append(_convolution(spatial_dims, wider, wider))
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
    return Convolution(spatial_dims, width, wider, adn_ordering="NA", act="relu", norm="batch")
