"""Open pictures of cameras and scanners with Pillow: JPEG, PNG and BMP."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import NOT_THE_FILE, InputError
from cellcam.stacks.file_kinds import check_kind
from cellcam.stacks.image_file import ImageFile

if TYPE_CHECKING:
    import PIL.Image

_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp")

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

    check_kind(path, *_ENDINGS)
    try:
        with _opened(path) as picture:
            mode, width, height = picture.mode, picture.width, picture.height
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{path} declares more pixels than a picture has: {error} Save it as tiled TIFF."
        ) from error
    except NOT_THE_FILE:
        raise
    except Exception as error:  # a damaged file can make Pillow raise anything
        raise InputError(
            f"{path} is no picture that can be read: {error}. Save it again."
        ) from error
    if mode not in _MODES:
        raise InputError(f"{path} holds values of the kind {mode}. Save it as RGB or as TIFF.")
    known_axes, dtype = _MODES[mode]
    samples = () if known_axes == "YX" else (4 if mode == "RGBA" else 3,)
    pixels = da.from_delayed(dask.delayed(_pixels)(path), (height, width, *samples), dtype)
    return ImageFile(pixels, known_axes, pixels.shape, is_colour="S" in known_axes)


@contextmanager
def _opened(path: Path) -> Iterator[PIL.Image.Image]:
    """A picture; large ones are expected, and those that are too large are Pillow's errors."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path) as picture:
            yield picture


def _pixels(path: Path) -> NDArray[np.generic]:
    try:
        with _opened(path) as picture:
            mode = picture.mode
            return np.asarray(picture.convert("RGB") if mode == "P" else picture).astype(
                _MODES[mode][1]
            )
    except NOT_THE_FILE:
        raise
    except Exception as error:  # a damaged file can make Pillow raise anything
        raise InputError(f"{path} is damaged: {error}. Export it again.") from error
