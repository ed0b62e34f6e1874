"""Find cells by one global threshold and a watershed, or check the user's own label image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import InputError
from cellcam.stacks.blocks import sample_parts
from cellcam.stacks.stack import Stack, ZChoice

Labels = NDArray[np.int32]

DEFAULT_DIAMETER_UM = 10.0
_UNKNOWN_DIAMETER = 20.0
# Planes up to this size are looked at whole when threshold and diameter are measured, of larger
# ones squares that add up to it.
_SAMPLE_PIXELS, _SAMPLE_EDGE = 2**24, 1024
# Otsu splits even pure noise; its two halves lie 1.6 standard deviations apart.
_MIN_CONTRAST_IN_NOISE = 5.0


@dataclass(frozen=True)
class FieldScale:
    """What is measured once for a whole field, so that all of its parts are treated alike.

    Attributes
    ----------
    threshold : intensity of the smoothed channel above which a pixel is cell
        Infinite where there is nothing but noise.
    diameter : typical diameter of a cell in pixels; None where there is no cell to measure
    smoothing : diameter that the smoothing is made for, in pixels
    """

    threshold: float
    diameter: float | None
    smoothing: float


def find_cells(
    stack: Stack,
    channel: str | None = None,
    *,
    t: int = 0,
    z: ZChoice = None,
    diameter_um: float | None = None,
    diameter: float | None = None,
    threshold: float | None = None,
    scale: FieldScale | None = None,
) -> Labels:
    """Label bright cells or nuclei in one channel of a field.

    Gaussian smoothing, one global threshold, distance transform, watershed.

    Parameters
    ----------
    stack : Stack
    channel : name of the channel that shows the cells; may be left out for a single channel
    t, z : the field, see `Stack.field`
    diameter_um, diameter : typical diameter of a cell in um or in pixels, one of the two
        Sets the smoothing, the smallest object and the largest hole. Default: 10 um where the
        pixel size is known, else the median diameter of the objects above the threshold.
    threshold : intensity of the smoothed channel above which a pixel is cell
        Default: Otsu's threshold of the square root of the intensity above the background,
        which keeps dim cells beside bright ones.
    scale : what `measure_field` found out about the field that this stack is cut from; it
        replaces diameter and threshold

    Returns
    -------
    int32 array, (Y, X), or (Z, Y, X) for ``z="volume"``; 0 is background, cells count from 1

    Raises
    ------
    InputError
        If the channel or the field does not exist or the scale makes no sense.
    """
    image = _finding_image(stack, channel, t, z)
    known, spacing = _in_pixels(stack, image.ndim, diameter_um, diameter)
    if scale is None and _is_large(stack):
        scale = measure_field(
            stack, channel, t=t, z=z, diameter_um=diameter_um, diameter=diameter,
            threshold=threshold,
        )  # fmt: skip
    scale = scale or _measured([image], known, threshold, spacing)
    return _labelled(image, scale, spacing)


def measure_field(
    stack: Stack,
    channel: str | None = None,
    *,
    t: int = 0,
    z: ZChoice = None,
    diameter_um: float | None = None,
    diameter: float | None = None,
    threshold: float | None = None,
) -> FieldScale:
    """Threshold and diameter that `find_cells` takes; parameters and errors are the same.

    Of a plane of more than 16.8 million pixels, squares are looked at that are spread evenly
    and add up to as many.
    """
    parts = sample_parts(stack.data.shape[-2:], _SAMPLE_PIXELS, _SAMPLE_EDGE)
    images = [_finding_image(stack.cut(*part.slices), channel, t, z) for part in parts]
    known, spacing = _in_pixels(stack, images[0].ndim, diameter_um, diameter)
    return _measured(images, known, threshold, spacing)


def find_threshold(
    stack: Stack,
    channel: str | None = None,
    *,
    t: int = 0,
    z: ZChoice = None,
    diameter_um: float | None = None,
    diameter: float | None = None,
) -> float:
    """The threshold that `find_cells` takes by itself; parameters and errors are the same.

    Returns
    -------
    intensity of the smoothed channel; infinite where there is nothing but noise
    """
    how = {"diameter_um": diameter_um, "diameter": diameter}
    return measure_field(stack, channel, t=t, z=z, **how).threshold


def label_cells(
    image: NDArray[np.float32],
    diameter: float | None = None,
    threshold: float | None = None,
    spacing: tuple[float, ...] | None = None,
) -> Labels:
    """Label the cells of one image; the engine of `find_cells`.

    Parameters
    ----------
    image : (Y, X) or (Z, Y, X) float array
    diameter : typical diameter in pixels of the last axis; measured when left out
    threshold : of the smoothed image; Otsu's when left out
    spacing : edge lengths of a voxel in units of the last axis, such as (3, 1, 1)
    """
    spacing = spacing or (1.0,) * image.ndim
    image = _numbers(image)
    return _labelled(image, _measured([image], diameter, threshold, spacing), spacing)


def finding_channel(stack: Stack, channel: str | None = None) -> str:
    """The channel in which cells are found: the one named, or the only one.

    Raises
    ------
    InputError
        If none is named and there are several.
    """
    if channel is None and len(stack.channels) > 1:
        raise InputError(
            f"{stack.name} has the channels {', '.join(stack.channels)}. "
            "Say in which one cells are found (channel=..., --find-channel)."
        )
    return channel or stack.channels[0]


def _labelled(image: NDArray[np.float32], scale: FieldScale, spacing: tuple[float, ...]) -> Labels:
    """Cells of an image whose scale is known.

    Every step looks no further than a few diameters, so that a part of a field, read with a
    border, holds the cells that the whole field has there.
    """
    from scipy import ndimage
    from skimage.feature import peak_local_max
    from skimage.morphology import remove_small_holes, remove_small_objects
    from skimage.segmentation import watershed

    mask = _smoothed(image, scale.smoothing, spacing) > scale.threshold
    if scale.diameter is None or not mask.any():
        return np.zeros(image.shape, np.int32)
    diameter = scale.diameter
    volume = _ball_volume(diameter / 2, spacing)
    # A ring of cells around empty field is no cell: only holes smaller than a cell are filled.
    mask = remove_small_holes(mask, max_size=int(volume))
    mask = remove_small_objects(mask, max_size=max(4, int(volume / 6)))
    depth = ndimage.distance_transform_edt(mask, sampling=spacing)
    # Smoothing keeps a ragged outline from cutting one cell in two.
    depth = ndimage.gaussian_filter(depth, diameter / 12 / np.array(spacing)) * mask
    parts, _ = ndimage.label(mask)
    peaks = peak_local_max(
        depth, min_distance=max(1, round(diameter / 4)), labels=parts, exclude_border=False
    )
    markers = np.zeros(image.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return _in_reading_order(watershed(-depth, markers, mask=mask))


def check_labels(labels: NDArray[Any], shape: tuple[int, ...]) -> Labels:
    """The user's own label image, checked.

    Parameters
    ----------
    labels : integer array, 0 for background; axes of length 1 are dropped
    shape : the field's (Y, X) or (Z, Y, X)

    Raises
    ------
    InputError
        If it is no label image, does not fit the field, or holds no cell.
    """
    labels = np.asarray(labels)
    if labels.dtype == bool:
        raise InputError(
            "The label image is a yes/no mask, which cannot tell touching cells apart. "
            "Give each cell a number of its own, for instance with skimage.measure.label."
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"A label image holds whole numbers, not {labels.dtype}.")
    squeezed = labels.reshape([n for n in labels.shape if n > 1]) if labels.ndim > 2 else labels
    if squeezed.shape != tuple(n for n in shape if n > 1) and labels.shape != shape:
        raise InputError(f"The label image has shape {labels.shape}, the field {shape}.")
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= 2**31:
        raise InputError("Labels must lie between 0 (background) and 2147483647.")
    if not labels.any():
        raise InputError("The label image holds no cell: every pixel is 0.")
    return labels.reshape(shape).astype(np.int32)


def _in_pixels(
    stack: Stack, ndim: int, diameter_um: float | None, diameter: float | None
) -> tuple[float | None, tuple[float, ...]]:
    """Diameter of a cell in pixels of the last axis, and the voxel's edges in the same unit."""
    pixel = stack.pixel_size_um[-ndim:]
    if diameter_um is not None:
        if pixel[-1] is None:
            raise InputError(
                f"diameter_um was given, but the pixel size of {stack.name} is unknown. "
                "Give diameter in pixels, or the pixel size (--pixel-size)."
            )
        diameter = diameter_um / pixel[-1]
    elif diameter is None and pixel[-1] is not None:
        diameter = DEFAULT_DIAMETER_UM / pixel[-1]
    if diameter is not None and diameter < 2:
        raise InputError(
            f"A cell diameter of {diameter:.2g} pixels is too small to find anything. "
            f"Check the pixel size ({pixel[-1]} um) or give diameter in pixels."
        )
    return diameter, _spacing(pixel)


def _is_large(stack: Stack) -> bool:
    """Whether a plane is looked at in a sample when its scale is measured."""
    height, width = stack.data.shape[-2:]
    return height * width > _SAMPLE_PIXELS


def _finding_image(stack: Stack, channel: str | None, t: int, z: ZChoice) -> NDArray[np.float32]:
    return _numbers(stack.field(t, z, [finding_channel(stack, channel)])[0])


def _numbers(image: NDArray[Any]) -> NDArray[np.float32]:
    """The image as float32, with 0 for what is no number."""
    return np.nan_to_num(image.astype(np.float32), copy=False, nan=0.0, posinf=0.0, neginf=0.0)


def _sigma(smoothing: float, spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Standard deviations of the smoothing, in pixels of each axis."""
    return np.array([max(0.5, smoothing / 12) / step for step in spacing])


def _smoothed(
    image: NDArray[np.float32], smoothing: float, spacing: tuple[float, ...]
) -> NDArray[np.float32]:
    from scipy import ndimage

    return ndimage.gaussian_filter(image, _sigma(smoothing, spacing))


def _measured(
    images: Sequence[NDArray[np.float32]],
    diameter: float | None,
    threshold: float | None,
    spacing: tuple[float, ...],
) -> FieldScale:
    """Threshold and diameter, as far as they are not given, from samples of a field."""
    smoothing = diameter or _UNKNOWN_DIAMETER
    if threshold is not None and diameter is not None:
        return FieldScale(threshold, diameter, smoothing)
    smooth = [_smoothed(image, smoothing, spacing) for image in images]
    if threshold is None:
        threshold = _otsu_above_noise(images, smooth, _sigma(smoothing, spacing))
    if diameter is None:
        diameter = _median_diameter([one > threshold for one in smooth], spacing)
    return FieldScale(threshold, diameter, smoothing)


def _spacing(pixel: tuple[float | None, ...]) -> tuple[float, ...]:
    """Voxel edges in units of the last axis; 1 where unknown."""
    known = pixel[-1]
    return tuple(1.0 if size is None or known is None else size / known for size in pixel)


def _otsu_above_noise(
    images: Sequence[NDArray[np.float32]],
    smooth_images: Sequence[NDArray[np.float32]],
    sigma: NDArray[np.float64],
) -> float:
    """Otsu's threshold of the smoothed images; infinite where it only splits noise.

    Taken on the square root above the background: photon noise is even there, so that cells
    four times dimmer than their neighbours are still found.
    """
    from skimage.filters import threshold_otsu

    smooth = np.concatenate([one.ravel() for one in smooth_images])
    if smooth.min() == smooth.max():
        return float("inf")
    background = float(np.percentile(smooth, 1))
    root = np.sqrt(np.clip(smooth - background, 0, None))
    threshold = float(threshold_otsu(root)) ** 2 + background
    # Pixel noise from differences of neighbours (median, so that edges do not count), and
    # what Gaussian smoothing leaves of it.
    step = np.concatenate([np.abs(np.diff(image, axis=-1)).ravel() for image in images])
    noise = np.median(step) / (0.6745 * np.sqrt(2))
    noise /= float(np.prod(np.sqrt(2 * np.sqrt(np.pi) * sigma)))
    contrast = smooth[smooth > threshold].mean() - smooth[smooth <= threshold].mean()
    return threshold if contrast > _MIN_CONTRAST_IN_NOISE * noise else float("inf")


def _median_diameter(
    masks: Sequence[NDArray[np.bool_]], spacing: tuple[float, ...]
) -> float | None:
    """Median diameter of the connected objects of masks, as discs or balls of their size."""
    from scipy import ndimage

    counts = []
    for mask in masks:
        parts, count = ndimage.label(ndimage.binary_fill_holes(mask))
        counts.append(np.bincount(parts.ravel(), minlength=count + 1)[1:])
    sizes = np.concatenate(counts)
    if not len(sizes):
        return None
    median = float(np.median(sizes[sizes >= max(4, sizes.max() / 20)])) * float(np.prod(spacing))
    two_d = len(spacing) == 2
    radius = (median / np.pi) ** 0.5 if two_d else (median * 0.75 / np.pi) ** (1 / 3)
    return max(2.0, 2 * radius)


def _ball_volume(radius: float, spacing: tuple[float, ...]) -> float:
    """Volume in voxels of a disc (2-D) or ball (3-D)."""
    factor = np.pi if len(spacing) == 2 else 4 / 3 * np.pi
    return float(factor * radius ** len(spacing) / np.prod(spacing))


def _in_reading_order(labels: NDArray[Any]) -> Labels:
    """Renumber from 1 by first pixel, so that the same image always gives the same labels."""
    found, first = np.unique(labels, return_index=True)
    order = found[np.argsort(first)]
    order = order[order > 0]
    renumbered = np.zeros(int(found.max()) + 1, np.int32)
    renumbered[order] = np.arange(1, len(order) + 1)
    return renumbered[labels]
