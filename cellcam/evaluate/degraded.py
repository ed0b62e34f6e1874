"""Cells as worse images would show them: another exposure, blur, noise, a lost stain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

Kind = Literal["exposure", "blur", "noise", "lost stain"]
Change = Kind | Literal["unchanged"]
Crops = NDArray[np.generic]

# Factors of the counts; standard deviations of a Gaussian in pixels of the crop; standard
# deviations of the noise in those of the channel.
EXPOSURES = (0.25, 0.5, 0.7, 1.4, 2.0, 4.0)
BLURS = (0.5, 1.0, 1.5, 2.0, 3.0)
NOISES = (0.05, 0.1, 0.2, 0.4, 0.8)


@dataclass(frozen=True, eq=False)
class DegradedCrops:
    """Crops after one change.

    Attributes
    ----------
    kind : of the change
    level : how much, see `EXPOSURES`, `BLURS` and `NOISES`; 0 for a lost stain
    name : of the change, such as ``"blur 1 px"`` or ``"without DNA"``
    crops : (N, C, *spatial), in the type of the crops that were given
    """

    kind: Kind
    level: float
    name: str
    crops: Crops


@dataclass(frozen=True)
class DegradedPoint:
    """What a classifier makes of cells after one change, see `DegradedCrops`.

    Attributes
    ----------
    kind, level, name : of the change; kind ``"unchanged"`` for the cells as they are
    balanced_accuracy : of the changed cells
    interval : its 95 % interval; None where there is none
    same_call : part of the cells that keep their call
    flagged : part of the cells that are flagged as unlike those of the training; None where the
        model does not know its training cells
    """

    kind: Change
    level: float
    name: str
    balanced_accuracy: float
    interval: list[float] | None
    same_call: float
    flagged: float | None

    def as_json(self) -> dict[str, JsonValue]:
        """Entries that were computed."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def degraded(crops: Crops, channels: Sequence[str]) -> Iterator[DegradedCrops]:
    """The same cells at every level of every change.

    Exposure multiplies all counts, and cuts them at the largest number of the type, as a camera
    does. Blur acts in the plane. Noise is Gaussian, alike in all pixels of a channel. A lost stain
    has the level of the crop's border everywhere.

    Parameters
    ----------
    crops : (N, C, *spatial) counts
    channels : C names; of a single channel no stain is lost, since nothing would be left
    """
    from scipy import ndimage

    counts = crops.astype(np.float32)
    in_the_plane = (0,) * (crops.ndim - 2)
    for factor in EXPOSURES:
        yield DegradedCrops(
            "exposure", factor, f"exposure x {factor:g}", _as(counts * factor, crops)
        )
    for sigma in BLURS:
        blurred = ndimage.gaussian_filter(counts, (*in_the_plane, sigma, sigma), mode="nearest")
        yield DegradedCrops("blur", sigma, f"blur {sigma:g} px", _as(blurred, crops))
    noise = np.random.default_rng(1).standard_normal(counts.shape, np.float32)
    axes = (0, *range(2, crops.ndim))
    noise *= counts.std(axes, keepdims=True)
    for level in NOISES:
        yield DegradedCrops(
            "noise", level, f"noise {level:.0%}", _as(counts + level * noise, crops)
        )
    for c, name in enumerate(channels if len(channels) > 1 else ()):
        lost = counts.copy()
        lost[:, c] = _border_level(counts[:, c])
        yield DegradedCrops("lost stain", 0.0, f"without {name}", _as(lost, crops))


def _as(counts: NDArray[np.float32], like: Crops) -> Crops:
    """Counts in the type of other crops; integers are rounded and cut at the ends of the type."""
    if like.dtype.kind not in "ui":
        return counts.astype(like.dtype)
    ends = np.iinfo(like.dtype.name)
    return np.clip(np.round(counts.astype(np.float64)), ends.min, ends.max).astype(like.dtype)


def _border_level(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Median along the edges of the last two axes, (N, 1, ...): the baseline of channel shares."""
    import torch

    from cellcam.explain.baselines import border_level

    level: NDArray[np.float32] = border_level(torch.from_numpy(plane[:, None])).numpy()[:, 0]
    return level
