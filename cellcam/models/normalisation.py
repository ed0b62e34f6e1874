"""From stored counts to the input of the network: the settings, and their application to crops.

A new normalisation is a change of this file; `cellcam_training` measures the settings on the
crops of a training (``measured_normalisation``).
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


class Normalisation(PlainData):
    """Fixed scaling of each channel, (counts - offset) / scale, the same for every image.

    Attributes
    ----------
    offset, scale : in counts, for each channel of the model
    """

    offset: tuple[float, ...]
    scale: tuple[PositiveFloat, ...]

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
