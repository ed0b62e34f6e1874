"""Writer for OME-TIFF with channel names, pixel size and time step, which napari's writer drops.

Shift, rotation and colours of a layer are not written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import CellCamError, InputError
from cellcam.stacks.formats import TIFF
from cellcam.stacks.stack import Stack
from napari_cellcam.layers.stack_from_layers import (
    axes_are_known,
    layer_axes,
    stack_from_layers,
)
from napari_cellcam.layers.stack_layers import LayerData, cellcam_metadata

if TYPE_CHECKING:
    from napari.layers import Image, Layer

_KEPT = ("name", "scale", "units", "axis_labels", "metadata", "rgb", "multiscale")


def write_images(path: str, layers: Sequence[LayerData]) -> list[str]:
    """Write image layers of one shape as the channels of one OME-TIFF.

    Each channel gets the name of its layer, or the class of an importance layer: a file named
    ``NAME.maps.ome.tif`` is read as importance again. Of a pyramid the full resolution is
    written. float64 is rounded to float32; 64-bit integers and booleans get a type that holds
    their values.

    Parameters
    ----------
    path : file; ``.ome.tif`` is added if it does not end like a TIFF
    layers : (data, attributes, type) of each layer

    Returns
    -------
    the path written

    Raises
    ------
    CellCamError
        If the layers differ in shape or scale or share a name, if their axes are unknown, or if
        values cannot be stored.
    """
    with _as_cellcam_error():
        stack = _stack(layers)
        written = _free_path(path)
        _write(written, stack, storable(np.asarray(stack.data)))
    return [str(written)]


def write_labels(path: str, data: object, attributes: dict[str, object]) -> list[str]:
    """Write a labels layer as a 16 or 32-bit OME-TIFF, see `write_images`."""
    from cellcam.stacks.writing import label_dtype

    with _as_cellcam_error():
        stack = _stack([(data, attributes, "labels")])
        labels = np.asarray(stack.data)
        if labels.min(initial=0) < 0 or labels.max(initial=0) >= 2**32:
            raise InputError(
                f"{attributes['name']} has labels below 0 or above {2**32 - 1}. Number its cells "
                "from 1 on."
            )
        written = _free_path(path)
        _write(written, stack, labels.astype(label_dtype(labels)))
    return [str(written)]


def storable(pixels: NDArray[np.generic]) -> NDArray[np.generic]:
    """Convert pixels to a type that OME-TIFF holds: integers of up to 32 bits, or float32.

    float64 is rounded; other types are converted without loss.

    Raises
    ------
    InputError
        If no such type holds the values.
    """
    if pixels.dtype.kind == "f":
        with suppress(FloatingPointError), np.errstate(over="raise"):
            return pixels.astype(np.float32, copy=False)
    if pixels.dtype.kind in "iu" and pixels.dtype.itemsize <= 4:
        return pixels
    if pixels.dtype.kind in "biu":
        low, high = int(pixels.min(initial=0)), int(pixels.max(initial=0))
        for dtype in (np.uint8, np.uint16, np.uint32, np.int32):
            if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
                return pixels.astype(dtype)
    raise InputError(
        f"Values of {pixels.dtype} from {pixels.min()} to {pixels.max()} fit no type that is "
        "written (whole numbers of up to 32 bits, float32). Convert the layer first."
    )


@contextmanager
def _as_cellcam_error() -> Iterator[None]:
    """Turn an `InputError`, which is a ValueError, into an error that napari shows.

    napari takes a ValueError for a missing writer.
    """
    try:
        yield
    except InputError as error:
        raise CellCamError(str(error)) from error


def _stack(layers: Sequence[LayerData]) -> Stack:
    from napari.layers import Image

    images: dict[str, Image] = {}
    for data, attributes, _ in layers:
        kept = {name: attributes[name] for name in _KEPT if name in attributes}
        # Contrast is not written; without it napari would compute it.
        image = Image(data, contrast_limits=(0, 1), **kept)
        if (channel := _channel(image)) in images:
            raise InputError(f"Two layers would be the channel {channel}. Rename one of them.")
        images[channel] = image
    return stack_from_layers(images, _known_axes(next(iter(images.values()))))


def _channel(image: Image) -> str:
    """Channel name of a layer: its class, its channel in the file it came from, or its name."""
    metadata = cellcam_metadata(image)
    channel = metadata.get("class") or metadata.get("channel") or str(image.name)
    # A layer of the only channel of a file is named after the file and the channel.
    return channel if "class" in metadata or image.name.endswith(channel) else str(image.name)


def _known_axes(layer: Layer) -> str:
    """Axes of a layer from its labels or units; a file must not hold guesses."""
    axes = layer_axes(layer)
    if not axes_are_known(layer):
        raise InputError(
            f"The {layer.ndim} axes of {layer.name} are unknown. Name them with the button "
            "Image facts... of the dock Classify and explain cells, and save again."
        )
    return axes


def _free_path(path: str) -> Path:
    """The path, with an ending that readers know.

    napari asked the user whether to replace ``path``, but not the file with the added ending.
    """
    if path.lower().endswith(TIFF.endings):
        return Path(path)
    whole = Path(f"{path}.ome.tif")
    if whole.exists():
        raise InputError(f"{whole} exists. Choose another name, or add the ending to replace it.")
    return whole


def _write(path: Path, stack: Stack, pixels: NDArray[np.generic]) -> None:
    from cellcam.stacks.writing import write_ome_tiff

    write_ome_tiff(path, pixels, stack.channels, stack.pixel_size_um, stack.time_step_s)
