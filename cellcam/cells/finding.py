"""Find cells by one global threshold and a watershed, or check the user's own label image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellcam.errors import InputError
from cellcam.stacks.stack import Stack, ZChoice

Labels = NDArray[np.int32]

DEFAULT_DIAMETER_UM = 10.0
# Otsu splits even pure noise; its two halves lie 1.6 standard deviations apart.
_MIN_CONTRAST_IN_NOISE = 5.0


def find_cells(
    stack: Stack,
    channel: str | None = None,
    *,
    t: int = 0,
    z: ZChoice = None,
    diameter_um: float | None = None,
    diameter: float | None = None,
    threshold: float | None = None,
) -> Labels:
    """Label bright cells or nuclei in one channel of a field.

    Gaussian smoothing, one global threshold, distance transform, watershed.

    Parameters
    ----------
    stack : Stack
    channel : name of the channel that shows the cells; may be left out for a single channel
    t, z : the field, see `Stack.field`
    diameter_um, diameter : typical diameter of a cell in um or in pixels, one of the two
        Sets the smoothing and the smallest object. Default: 10 um where the pixel size is
        known, else the median diameter of the objects above the threshold.
    threshold : intensity of the smoothed channel above which a pixel is cell
        Default: Otsu's threshold of the square root of the intensity above the background,
        which keeps dim cells beside bright ones.

    Returns
    -------
    int32 array, (Y, X), or (Z, Y, X) for ``z="volume"``; 0 is background, cells count from 1

    Raises
    ------
    InputError
        If the channel or the field does not exist or the scale makes no sense.
    """
    image = stack.field(t, z, [_finding_channel(stack, channel)])[0].astype(np.float32)
    diameter, spacing = _in_pixels(stack, image.ndim, diameter_um, diameter)
    return label_cells(image, diameter, threshold, spacing)


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
    image = stack.field(t, z, [_finding_channel(stack, channel)])[0].astype(np.float32)
    diameter, spacing = _in_pixels(stack, image.ndim, diameter_um, diameter)
    image, smooth, sigma = _smoothed(image, diameter, spacing)
    return _otsu_above_noise(image, smooth, sigma)


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
    from scipy import ndimage
    from skimage.feature import peak_local_max
    from skimage.morphology import remove_small_objects
    from skimage.segmentation import watershed

    spacing = spacing or (1.0,) * image.ndim
    image, smooth, sigma = _smoothed(image, diameter, spacing)
    threshold = _otsu_above_noise(image, smooth, sigma) if threshold is None else threshold
    mask = ndimage.binary_fill_holes(smooth > threshold)
    if not mask.any():
        return np.zeros(image.shape, np.int32)
    diameter = diameter or _median_diameter(mask, spacing)
    smallest = max(4, int(_ball_volume(diameter / 2, spacing) / 6))
    mask = remove_small_objects(mask, max_size=smallest)
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


def _finding_channel(stack: Stack, channel: str | None) -> str:
    if channel is None and len(stack.channels) > 1:
        raise InputError(
            f"{stack.name} has the channels {', '.join(stack.channels)}. "
            "Say in which one cells are found (channel=..., --find-channel)."
        )
    return channel or stack.channels[0]


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


def _smoothed(
    image: NDArray[np.float32], diameter: float | None, spacing: tuple[float, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """The image without what is no number, the same smoothed, and by how much."""
    from scipy import ndimage

    image = np.nan_to_num(image, nan=0.0, posinf=0.0, neginf=0.0)
    sigma = np.array([max(0.5, (diameter or 20.0) / 12) / step for step in spacing])
    return image, ndimage.gaussian_filter(image, sigma), sigma


def _spacing(pixel: tuple[float | None, ...]) -> tuple[float, ...]:
    """Voxel edges in units of the last axis; 1 where unknown."""
    known = pixel[-1]
    return tuple(1.0 if size is None or known is None else size / known for size in pixel)


def _otsu_above_noise(
    image: NDArray[np.float32], smooth: NDArray[np.float32], sigma: NDArray[np.float64]
) -> float:
    """Otsu's threshold of the smoothed image; infinite where it only splits noise.

    Taken on the square root above the background: photon noise is even there, so that cells
    four times dimmer than their neighbours are still found.
    """
    from skimage.filters import threshold_otsu

    if smooth.min() == smooth.max():
        return float("inf")
    background = float(np.percentile(smooth, 1))
    root = np.sqrt(np.clip(smooth - background, 0, None))
    threshold = float(threshold_otsu(root)) ** 2 + background
    # Pixel noise from differences of neighbours (median, so that edges do not count), and
    # what Gaussian smoothing leaves of it.
    step = np.abs(np.diff(image, axis=-1))
    noise = np.median(step) / (0.6745 * np.sqrt(2))
    noise /= float(np.prod(np.sqrt(2 * np.sqrt(np.pi) * sigma)))
    contrast = smooth[smooth > threshold].mean() - smooth[smooth <= threshold].mean()
    return threshold if contrast > _MIN_CONTRAST_IN_NOISE * noise else float("inf")


def _median_diameter(mask: NDArray[np.bool_], spacing: tuple[float, ...]) -> float:
    """Median diameter of the connected objects of a mask, as discs or balls of their size."""
    from scipy import ndimage

    parts, count = ndimage.label(mask)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    median = float(np.median(sizes[sizes >= max(4, sizes.max() / 20)])) * float(np.prod(spacing))
    radius = (median / np.pi) ** 0.5 if mask.ndim == 2 else (median * 0.75 / np.pi) ** (1 / 3)
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
