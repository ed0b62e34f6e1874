"""Sample crops of each class, in the field around them: is the crop as large as the cell?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellcam.reporting.cell_pictures import composite_image, png_row
from cellcam.reporting.html_page import write_page

_LONGEST_SIDE = 240  # of a picture, in pixels
_OUTSIDE = 0.4  # brightness of the field around a crop
_FRAME = (1.0, 0.75, 0.1)


@dataclass(frozen=True, eq=False)
class ShownCrop:
    """A crop and what lies around it.

    Attributes
    ----------
    pixels : (C, Y, X) raw counts with the crop in the middle; (C, Z, Y, X) is shown as its maximum
        projection
    crop_size : (y, x) pixels of the crop
    image : name of the image
    is_colour : whether the channels are red, green and blue
    """

    pixels: NDArray[np.generic]
    crop_size: tuple[int, ...]
    image: str
    is_colour: bool = False

    @property
    def is_framed(self) -> bool:
        """Whether there is a field around the crop."""
        return self.pixels.shape[-2:] != self.crop_size[-2:]


@dataclass(frozen=True, eq=False)
class ClassSamples:
    """Some crops of a class with ``n`` cells."""

    name: str
    n: int
    crops: Sequence[ShownCrop]


def write_sample_page(path: Path, samples: Sequence[ClassSamples], crops: str) -> None:
    """Write one HTML file with the crops.

    Parameters
    ----------
    crops : their size, and the reason for it
    """
    write_page(
        path, "samples.html.j2", title="What the network will see", samples=shown(samples),
        crops=crops,
    )  # fmt: skip


def shown(samples: Sequence[ClassSamples]) -> list[dict[str, object]]:
    """Content of the template."""
    return [
        {
            "name": one.name,
            "n": one.n,
            "is_framed": any(crop.is_framed for crop in one.crops),
            "crops": [{"picture": crop_picture(crop), "image": crop.image} for crop in one.crops],
        }
        for one in samples
    ]


def crop_picture(crop: ShownCrop) -> str:
    """The crop in a frame, the field around it darker, as PNG in base64."""
    pixels = crop.pixels.max(1) if crop.pixels.ndim == 4 else crop.pixels
    picture = _colours(pixels) if crop.is_colour else composite_image(pixels)
    shape, size = picture.shape[:2], crop.crop_size[-2:]
    starts = [(whole - part) // 2 for whole, part in zip(shape, size, strict=True)]
    if crop.is_framed:
        picture = _framed(picture, starts, size)
    return png_row([_smaller(picture)])


def _colours(pixels: NDArray[np.generic]) -> NDArray[np.float32]:
    """Red, green and blue (C, Y, X) as they are, stretched together: (Y, X, 3)."""
    counts = np.moveaxis(pixels[:3].astype(np.float32), 0, -1)
    low, high = np.nanpercentile(counts, (0.1, 99.9))
    return np.clip((counts - low) / max(high - low, 1e-9), 0, 1).astype(np.float32)


def _framed(
    picture: NDArray[np.float32], starts: Sequence[int], size: Sequence[int]
) -> NDArray[np.float32]:
    """The picture with the crop in a frame around it."""
    line = max(1, round(max(picture.shape[:2]) / 100))
    framed = picture * np.float32(_OUTSIDE)
    outer = tuple(
        slice(max(0, first - line), first + length + line)
        for first, length in zip(starts, size, strict=True)
    )
    inner = tuple(slice(first, first + length) for first, length in zip(starts, size, strict=True))
    framed[outer] = _FRAME
    framed[inner] = picture[inner]
    return framed


def _smaller(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """The picture, not larger than it is shown."""
    from skimage.transform import resize

    factor = _LONGEST_SIDE / max(picture.shape[:2])
    if factor >= 1:
        return picture
    shape = tuple(max(1, round(length * factor)) for length in picture.shape[:2])
    return np.asarray(resize(picture, shape, anti_aliasing=True), np.float32)
