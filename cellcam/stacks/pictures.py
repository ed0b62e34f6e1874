"""Open pictures of cameras and scanners with Pillow: JPEG, PNG and BMP."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import InputError
from cellcam.stacks.image_file import ImageFile

# Pillow's modes whose values are counts: axes and dtype.
_MODES = {
    "1": ("YX", np.uint8),
    "L": ("YX", np.uint8),
    "I;16": ("YX", np.uint16),
    "RGB": ("YXS", np.uint8),
    "RGBA": ("YXS", np.uint8),
    "P": ("YXS", np.uint8),  # indices into a colour table become its colours
}


def open_picture(path: Path, axes: str | None = None, series: int | None = None) -> ImageFile:
    """Open a picture with axes YX or YXS, see `cellcam.stacks.image_file.Opener`.

    A picture states its axes and is alone in its file: ``axes`` and ``series`` change nothing.

    Raises
    ------
    InputError
        If the file is damaged, or of another mode of Pillow.
    """
    import dask
    import dask.array as da
    from PIL import Image

    try:
        with Image.open(path) as picture:
            mode, width, height = picture.mode, picture.width, picture.height
    except (OSError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is no picture that can be read: {error}") from error
    if mode not in _MODES:
        raise InputError(f"{path} holds values of the kind {mode}. Save it as RGB or as TIFF.")
    known_axes, dtype = _MODES[mode]
    samples = () if known_axes == "YX" else (4 if mode == "RGBA" else 3,)
    pixels = da.from_delayed(dask.delayed(_pixels)(path), (height, width, *samples), dtype)
    return ImageFile(pixels, known_axes, pixels.shape, is_colour="S" in known_axes)


def _pixels(path: Path) -> NDArray[np.generic]:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            mode = picture.mode
            return np.asarray(picture.convert("RGB") if mode == "P" else picture).astype(
                _MODES[mode][1]
            )
    except OSError as error:
        raise InputError(f"{path} is damaged: {error}. Export it again.") from error
