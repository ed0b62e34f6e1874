"""From stored counts to the input of the network: measured in a training, applied to all crops.

It must not depend on the crop: the black image of explanations is the same for all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat

from cellcam.models.plain_data import PlainData

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_AT_ONCE = 1024  # crops that are measured at once, in float64


class Normalisation(PlainData):
    """Fixed scaling of each channel, (counts - offset) / scale, the same for every image.

    Attributes
    ----------
    offset, scale : in counts, for each channel of the model
    """

    offset: tuple[float, ...]
    scale: tuple[PositiveFloat, ...]

    @classmethod
    def measured(
        cls, pixels: NDArray[np.generic], chosen: NDArray[np.bool_] | None = None
    ) -> Normalisation:
        """Mean and standard deviation of each channel over all pixels, computed in float64.

        All images share them: normalising each image by itself would erase the total intensity,
        which distinguishes G1 from G2.

        Parameters
        ----------
        pixels : (N, C, *crop_size)
        chosen : (N,) bool, the crops to measure; default: all
        """
        rows = np.arange(len(pixels)) if chosen is None else np.flatnonzero(chosen)
        parts = np.array_split(rows, -(-len(rows) // _AT_ONCE))
        share = np.array([len(part) for part in parts]) / len(rows)
        axes = (0, *range(2, pixels.ndim))
        offset = share @ [pixels[part].mean(axes, dtype=np.float64) for part in parts]
        mean = offset.reshape(1, -1, *[1] * (pixels.ndim - 2))
        variance = share @ [np.square(pixels[part] - mean).mean(axes) for part in parts]
        scale = np.maximum(np.sqrt(variance), 1e-6)
        return cls(offset=tuple(offset.tolist()), scale=tuple(scale.tolist()))

    def check_channels(self, n_channels: int) -> None:
        """Raise `ValueError` unless there is a setting for each channel of the model."""
        for name, values in {"offset": self.offset, "scale": self.scale}.items():
            if len(values) != n_channels:
                raise ValueError(
                    f"normalisation.{name} must hold {n_channels} values, not {len(values)}"
                )

    def of_crops(self, crops: NDArray[np.generic], device: torch.device) -> Tensor:
        """Input of the network, (N, C, *spatial) float32 on the device, for raw crops."""
        import torch

        # Integers travel to the device; torch has no uint16 or uint32 arithmetic.
        if crops.dtype.kind == "u" and crops.dtype.itemsize > 1:
            crops = crops.astype(np.int32 if crops.dtype.itemsize == 2 else np.float32)
        counts = torch.from_numpy(np.ascontiguousarray(crops)).to(device).float()
        return self._of_counts(counts)

    def of_black(self, spatial_dims: int, device: torch.device) -> Tensor:
        """Input of the network for zero counts in all channels: (1, C, 1, 1), in 3-D one 1 more."""
        import torch

        shape = (1, len(self.offset), *[1] * spatial_dims)
        return self._of_counts(torch.zeros(shape, device=device))

    def _of_counts(self, counts: Tensor) -> Tensor:
        import torch

        by_channel = (1, -1, *[1] * (counts.ndim - 2))
        offset = torch.tensor(self.offset, device=counts.device).view(by_channel)
        scale = torch.tensor(self.scale, device=counts.device).view(by_channel)
        return (counts - offset) / scale
