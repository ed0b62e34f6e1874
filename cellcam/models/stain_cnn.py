"""A small network that sees each stain by itself, up to its last layer."""

from __future__ import annotations

from torch import Tensor, nn

_WIDTHS, _DEPTHS = (16, 32, 64, 128), (1, 2, 2, 2)
FEATURES = 13  # of each stain: as many as `appearance` has measures, which they may learn


class StainCNN(nn.Module):
    """Classifier that describes every stain by the same number of features, and joins them last.

    Its convolutions are in groups, one for each stain, so that a backbone of one stain serves any
    number of them: each gets a copy.

    Parameters
    ----------
    spatial_dims : 2 or 3
    in_channels, n_classes : int

    Shapes
    ------
    (N, in_channels, *spatial) -> (N, n_classes); each spatial axis at least 8 pixels
    """

    def __init__(self, spatial_dims: int, in_channels: int, n_classes: int) -> None:
        super().__init__()
        max_pool = nn.MaxPool2d if spatial_dims == 2 else nn.MaxPool3d
        convolution = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
        global_pool = nn.AdaptiveAvgPool2d if spatial_dims == 2 else nn.AdaptiveAvgPool3d
        self.features = nn.Sequential()
        self.n_stains = n = in_channels
        width = 1
        for number, (depth, wider) in enumerate(zip(_DEPTHS, _WIDTHS, strict=True)):
            if number > 0:
                self.features.append(max_pool(2))
            for _ in range(depth):
                self.features.append(_stain_convolution(spatial_dims, n, width, wider))
                width = wider
        self.describe = nn.Sequential(
            global_pool(1),
            convolution(n * width, n * width, 1, groups=n),
            nn.ReLU(),
            convolution(n * width, n * FEATURES, 1, groups=n),
            nn.Flatten(),
        )
        self.classify = nn.Linear(n * FEATURES, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores (N, n_classes) before softmax."""
        scores: Tensor = self.classify(self.describe(self.features(x)))
        return scores

    def repeats(self, name: str, one: Tensor, all_stains: Tensor) -> bool:
        """Whether a weight of this name is that of a network of one stain, for each stain again."""
        fits = all_stains.shape == (self.n_stains * len(one), *one.shape[1:])
        return fits and not name.startswith("classify")


def _stain_convolution(spatial_dims: int, n: int, width: int, wider: int) -> nn.Module:
    """Convolution of each of ``n`` stains, ``width`` to ``wider`` features."""
    convolution = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
    norm = nn.BatchNorm2d if spatial_dims == 2 else nn.BatchNorm3d
    return nn.Sequential(
        convolution(n * width, n * wider, 3, padding=1, groups=n), norm(n * wider), nn.ReLU()
    )
