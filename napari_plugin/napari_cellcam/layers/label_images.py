"""Is an image of whole numbers an image of cells? Pixels decide; a name alone does not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from cellcam.stacks.stack import Stack
from napari_cellcam.layers.channel_sources import full_resolution, layer_shape

if TYPE_CHECKING:
    from napari.layers import Layer
    from numpy.typing import NDArray

_WORD = re.compile(
    r"(^|[^a-z])(labels?|labelled|labeled|masks?|seg|segmentations?)([^a-z]|$)", re.IGNORECASE
)
# Larger images are not looked at while the user waits.
_LARGEST_LOOKED_AT = 2**24
# Answers about layers, by their unique id and shape.
_ANSWERS: dict[tuple[object, tuple[int, ...]], bool] = {}
# Part of neighbouring pixels inside of cells that are equal. Noise and blur of an image leave few
# equal neighbours; of cells only those at touching borders differ.
_EQUAL_NEIGHBOURS = 0.8


def is_named_as_labels(stack: Stack) -> bool:
    """Whether the file, or its folder, is called labels, masks or segmentation."""
    folder = stack.path.parent.name if stack.path is not None else ""
    return bool(_WORD.search(stack.name) or _WORD.fullmatch(folder))


def could_be_labels(pixels: NDArray[np.generic]) -> bool:
    """Whether whole numbers lie in flat patches on a background of 0, as cells do.

    Parameters
    ----------
    pixels : (..., Y, X)
    """
    if pixels.dtype.kind not in "ui" or pixels.size == 0 or pixels.min() < 0:
        return False
    left, right = pixels[..., :-1], pixels[..., 1:]
    inside = (left != 0) & (right != 0)
    n_pairs = int(np.count_nonzero(inside))
    if not n_pairs or not (pixels == 0).any():
        return False
    n_equal = int(np.count_nonzero(inside & (left == right)))
    return n_equal >= _EQUAL_NEIGHBOURS * n_pairs


def image_could_be_labels(layer: Layer) -> bool:
    """Whether an image layer could be used as cells, by a plane of it that is in memory."""
    from napari.layers import Image

    if not isinstance(layer, Image) or layer.rgb or layer.dtype.kind not in "ui":
        return False
    key = (layer.unique_id, layer_shape(layer))
    if key not in _ANSWERS:
        pixels = full_resolution(layer)
        middle = tuple(n // 2 for n in pixels.shape[:-2])
        _ANSWERS[key] = pixels.nbytes <= _LARGEST_LOOKED_AT and could_be_labels(
            np.asarray(pixels[middle])
        )
    return _ANSWERS[key]


def are_certainly_labels(pixels: NDArray[np.generic]) -> bool:
    """Whether each of several values is one patch, and nearly all patches touch the background.

    Steps of brightness lie inside of each other, and come back in other places; cells do not.

    Parameters
    ----------
    pixels : (Y, X) or (Z, Y, X)
    """
    from skimage.measure import label

    if not could_be_labels(pixels):
        return False
    values = np.unique(pixels)[1:]
    if len(values) < 2 or label(pixels).max() != len(values):
        return False
    touching = _values_beside_background(pixels)
    return len(touching) >= 0.9 * len(values)


def numbered_patches(pixels: NDArray[np.generic]) -> NDArray[np.int32] | None:
    """The patches of a yes/no mask as cells 1 to N; None if the pixels are no such mask.

    Parameters
    ----------
    pixels : (Y, X) or (Z, Y, X)
    """
    from skimage.measure import label

    if len(np.unique(pixels)) != 2 or (pixels == 0).all():
        return None
    patches = label(pixels != 0).astype(np.int32)
    return patches if patches.max() > 1 else None


def _values_beside_background(pixels: NDArray[np.generic]) -> set[int]:
    """Values of pixels that have a neighbour of 0 along y or x."""
    found: set[int] = set()
    for axis in (-2, -1):
        first = np.take(pixels, range(pixels.shape[axis] - 1), axis)
        second = np.take(pixels, range(1, pixels.shape[axis]), axis)
        found |= set(np.unique(first[second == 0]).tolist())
        found |= set(np.unique(second[first == 0]).tolist())
    return found - {0}
