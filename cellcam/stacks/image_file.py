"""One image of a file in its own axes, before it becomes a `Stack`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cellcam.errors import InputError
from cellcam.stacks.missing_pixels import MissingPixels
from cellcam.stacks.stack import UNKNOWN_PIXEL_SIZE, PixelSize

if TYPE_CHECKING:
    import dask.array as da


@dataclass(frozen=True)
class Metadata:
    """Channels and scale that a file states; None or empty where it states none.

    Attributes
    ----------
    channels : names, as many as the file states
    pixel_size_um : (z, y, x)
    time_step_s : seconds between time points
    notes : what the user must know about them
    """

    channels: Sequence[str | None] = ()
    pixel_size_um: PixelSize = UNKNOWN_PIXEL_SIZE
    time_step_s: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ImageFile:
    """One image of a file.

    Attributes
    ----------
    pixels : dask array in the file's axes and dtype, read when it is computed
    axes : one letter for each axis: T, C, Z, Y, X, and S for colour samples
    stored : shape of a tile, strip or chunk of the file, in its axes
    metadata : channels and scale
    is_colour : whether its channels or samples are the red, green and blue of a picture
    missing : strips, tiles or chunks that are not in the file; ``pixels`` are 0 there
    files : the files that hold it and its description, where these are several
    notes : what the user must know about it, beside the notes about its scale
    """

    pixels: da.Array
    axes: str
    stored: tuple[int, ...]
    metadata: Metadata = Metadata()
    is_colour: bool = False
    missing: MissingPixels | None = None
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StatedImage:
    """What a file states about one of its images.

    Attributes
    ----------
    axes : one letter for each axis; other letters than TCZYXS where the file does not state it
    shape : size along each axis
    metadata : channels and scale
    """

    axes: str
    shape: tuple[int, ...]
    metadata: Metadata = Metadata()


class UnstatedFactError(InputError):
    """A file does not state what is needed to open it: its axes, its channels, which image.

    Attributes
    ----------
    images : what the file states about each of its images, by their number in the file
    """

    def __init__(self, message: str, images: Mapping[int, StatedImage]) -> None:
        super().__init__(message)
        self.images = dict(images)


class Opener(Protocol):
    """Opens one file of a format, reading no pixels yet."""

    def __call__(self, path: Path, axes: str | None, series: int | None) -> ImageFile:
        """The image in a file.

        Parameters
        ----------
        path : the file, or the folder of a format that stores images as folders
        axes : axes of the file that the user states; None: those that the file states
        series : number of the image in the file, from the user; None: the only one

        Raises
        ------
        InputError
            If the file is damaged, or does not state its axes.
        """
        ...
