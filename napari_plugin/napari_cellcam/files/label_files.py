"""Files of other programs that hold cells: Cellpose, ImageJ, CellProfiler, ilastik."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_cellcam.layers.label_images import (
    are_certainly_labels,
    could_be_labels,
    is_named_as_labels,
    numbered_patches,
)
from napari_cellcam.layers.stack_layers import LayerData, channel_pixels, stack_placement

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellcam.stacks.stack import Stack

_LARGEST_MEASURED = 2**26


def label_layers(stack: Stack) -> list[LayerData]:
    """A labels layer, if a file certainly holds cells; otherwise nothing.

    It does if it has one channel of whole numbers in flat patches, and is called labels, masks or
    segmentation; or if each number is one patch. The patches of a yes/no mask that is so called
    are numbered. What was decided is said.
    """
    if len(stack.channels) > 1 or stack.data.dtype.kind not in "buif":
        return []
    if stack.data.nbytes > _LARGEST_MEASURED:
        return []
    if stack.data.dtype.kind == "f" and not is_named_as_labels(stack):
        return []
    pixels = _as_integers(np.asarray(channel_pixels(stack, 0)))
    if is_named_as_labels(stack):
        return _named_labels(stack, pixels) if could_be_labels(pixels) else []
    if _is_movie(stack) or not are_certainly_labels(pixels):
        return []
    _say(f"{stack.name} was opened as cells: each of its values is one patch.")
    return [_layer(stack, pixels)]


def _as_integers(pixels: NDArray[np.generic]) -> NDArray[np.generic]:
    """Yes and no, or whole numbers that were stored as floating point, as integers."""
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8)
    if pixels.dtype.kind != "f":
        return pixels
    values = pixels.astype(np.float64)
    is_whole = (
        np.isfinite(values).all() and not (values % 1).any() and values.max(initial=0) < 2**31
    )
    return values.astype(np.int32) if is_whole else pixels


def _named_labels(stack: Stack, pixels: NDArray[np.generic]) -> list[LayerData]:
    patches = None if _is_movie(stack) else numbered_patches(pixels)
    if patches is None:
        return [_layer(stack, pixels)]
    _say(f"{stack.name} is a yes/no mask: each of its {patches.max()} patches is taken as a cell.")
    return [_layer(stack, patches)]


def _is_movie(stack: Stack) -> bool:
    """Whether there are several time points, in which a patch is not one cell."""
    return stack.data.shape[0] > 1


def _layer(stack: Stack, pixels: NDArray[np.generic]) -> LayerData:
    attributes: dict[str, object] = {
        "name": stack.name,
        "opacity": 0.5,
        "metadata": {"cellcam": {"path": str(stack.path)}},
        **stack_placement(stack),
    }
    # napari's brush and its undo know the common types only.
    kept = pixels if pixels.dtype.itemsize <= 4 else pixels.astype(np.int64)
    return np.array(kept), attributes, "labels"


def _say(text: str) -> None:
    from napari.utils.notifications import show_info

    show_info(text)
