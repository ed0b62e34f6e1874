"""Find cells by one global threshold and a watershed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.connected_parts import (
    parts_larger_than,
    sizes_without_holes,
    without_small_holes,
)
from cellcam.cells.distance import distance_to_background
from cellcam.cells.finder import FieldView, Labels, Pixels
from cellcam.cells.gaussian import gaussian_mean, with_odd_rows
from cellcam.cells.looks import (
    Look,
    LookFor,
    as_one_text,
    cells_bright,
    check_colours,
    from_one_text,
    recognised,
    shown_channels,
)
from cellcam.cells.no_data import Mask
from cellcam.cells.otsu import contrast, otsu_of_root
from cellcam.cells.splitting import split_parts
from cellcam.errors import InputError
from cellcam.stacks.stack import Stack, ZChoice

# In a field of so few pixels a cell may be larger than the field.
_SMALL_FIELD = 256
DEFAULT_DIAMETER_UM = 10.0
_UNKNOWN_DIAMETER = 20.0
# Otsu splits even pure noise; its two halves lie 1.6 standard deviations apart.
_MIN_CONTRAST_IN_NOISE = 5.0
# Differences of neighbours that are enough for their median.
_STEPS = 2**15
# Without a model to say how large a crop is: pixels in which a field holds more than one cell.
_CROP = 64
# Four diameters hold a cell, its neighbour and the reach of all filters.
_BORDER_DIAMETERS = 4
_DARK = (
    "The cells were looked for as dark on bright ground, because the picture shows white light. "
    "If they are bright: --look-for bright."
)


@dataclass(frozen=True)
class FieldScale:
    """Threshold and cell size of a whole field, so that all its blocks are treated alike.

    Attributes
    ----------
    threshold : see `ThresholdFinder`; infinite where there is nothing but noise
    diameter : typical diameter of a cell in pixels; None where there is no cell to measure
    smoothing : diameter that sets the smoothing, in pixels
    look : what the cells look like
    notes : what was recognised, for the user
    """

    threshold: float
    diameter: float | None
    smoothing: float
    look: Look = "bright"
    notes: tuple[str, ...] = ()

    @property
    def level(self) -> float:
        """Threshold in the image in which cells are bright."""
        return -self.threshold if self.look == "dark" else self.threshold


@dataclass(frozen=True)
class ThresholdFinder:
    """Cells or nuclei by Gaussian smoothing, a global threshold, distance and watershed.

    Attributes
    ----------
    channel : the channel that shows the cells; None: the one that the model names, the only one,
        or the colours of a picture
        Several names in one text, ``"red,green,blue"``, are looked at together.
    diameter_um, diameter : typical diameter of a cell in um or in pixels, one of the two
        Sets the smoothing, the smallest object and the largest hole. None: as the model says, or
        10 um where the pixel size is known, else the median diameter of the objects above the
        threshold.
    threshold : intensity of the smoothed channel beyond which a pixel belongs to a cell
        Cells lie above it, dark ones below; for haematoxylin it is an optical density. None:
        Otsu's threshold of the square root of the difference from the background, which keeps dim
        cells beside bright ones.
    look_for : ``"bright"`` cells on dark ground, ``"dark"`` cells on bright ground, or nuclei by
        their ``"hematoxylin"`` in pictures of H&E; ``"auto"`` looks for dark cells in colour
        pictures in white light, and for bright cells elsewhere
    """

    name: ClassVar[str] = "threshold"
    is_local: ClassVar[bool] = True

    channel: str | None = None
    diameter_um: float | None = None
    diameter: float | None = None
    threshold: float | None = None
    look_for: LookFor = "auto"

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that show the cells, once they are known."""
        return () if self.channel is None else from_one_text(self.channel)

    def looking_for(self, look: Look | None) -> ThresholdFinder:
        """Same finder for cells that look like this, unless it was said what they look like."""
        return self if look is None or self.look_for != "auto" else replace(self, look_for=look)

    def for_stack(
        self, stack: Stack, channel: str | None, diameter_um: float | None
    ) -> ThresholdFinder:
        """See `CellFinder.for_stack`."""
        suggested = channel if channel in stack.channels else None
        if self.look_for == "hematoxylin" and stack.is_colour:
            suggested = None  # seen in all colours
        shown = shown_channels(stack, self.channel or suggested)
        if self.look_for == "hematoxylin":
            check_colours(stack, shown)
        chosen = as_one_text(shown)
        if self.diameter_um is None and self.diameter is None and stack.pixel_size_um.x is not None:
            return replace(self, channel=chosen, diameter_um=diameter_um)
        return replace(self, channel=chosen)

    def measure(self, view: FieldView) -> FieldScale:
        """Threshold and diameter, as far as they are not given.

        Planes of more than 16.8 million pixels are measured on squares that are spread evenly and
        add up to as many. Pixels without data are left out.

        Raises
        ------
        InputError
            If the channel or the field does not exist, or the diameter makes no sense.
        """
        parts = [view.cut(part) for part in view.sample_parts()]
        samples = [part.several(self._channels(view)) for part in parts]
        look = self._look(view.stack, samples, [part.missing for part in parts])
        pairs = zip(samples, parts, strict=True)
        images = [_Image.of(sample, look, part.missing) for sample, part in pairs]
        if len(images) == 1:
            view.kept[self.name] = images[0]
        n_axes = len(view.shape)
        diameter, spacing = _in_pixels(view.stack, n_axes, self.diameter_um, self.diameter)
        sign = -1 if look == "dark" else 1
        level = None if self.threshold is None else sign * self.threshold
        scale = _measured(images, diameter, level, spacing)
        notes = (_DARK,) if (self.look_for, look) == ("auto", "dark") else ()
        return replace(scale, threshold=sign * scale.threshold, look=look, notes=notes)

    def label(self, view: FieldView, measured: object) -> Labels:
        """Label image of a view; cells count from 1 in the order of their first pixel."""
        assert isinstance(measured, FieldScale)
        spacing = _spacing(view.stack.pixel_size_um[-len(view.shape) :])
        image = view.kept.pop(self.name, None)
        if not isinstance(image, _Image):
            pixels = view.several(self._channels(view))
            image = _Image.of(pixels, measured.look, view.missing)
        is_bright = image.smoothed(_sigma(measured.smoothing, spacing)) > measured.level
        mask, data = image.only_data(is_bright), image.data
        del image, is_bright  # labelling takes as much memory again
        return _labelled(mask, data, measured, spacing)

    def border(self, measured: object) -> int:
        """Four diameters, in pixels."""
        assert isinstance(measured, FieldScale)
        return int(np.ceil(_BORDER_DIAMETERS * (measured.diameter or 0)))

    def _channels(self, view: FieldView) -> tuple[str, ...]:
        return shown_channels(view.stack, self.channel)

    def _look(
        self, stack: Stack, samples: Sequence[Sequence[Pixels]], missing: Sequence[Mask | None]
    ) -> Look:
        """What the cells look like, decided once for the whole field."""
        if self.look_for == "hematoxylin":
            check_colours(stack, shown_channels(stack, self.channel))
        if self.look_for != "auto":
            return self.look_for
        return recognised(samples, missing) if stack.is_colour else "bright"


@dataclass(frozen=True, eq=False)
class _Image:
    """Image in which the cells are bright.

    Attributes
    ----------
    pixels : float32, 0 where there are no data
    data : which pixels have data; None if all have
    means : Gaussian means by their standard deviations, so that measuring and labelling share one
    """

    pixels: NDArray[np.float32]
    data: Mask | None = None
    means: dict[tuple[float, ...], NDArray[np.float32]] = field(default_factory=dict)

    @classmethod
    def of(cls, channels: Sequence[Pixels], look: Look, missing: Mask | None) -> _Image:
        image: NDArray[np.float32] = with_odd_rows(channels[0].shape, np.float32)
        cells_bright(channels, look, image)
        if missing is None and channels[0].dtype.kind == "f" and not np.isfinite(image).all():
            missing = ~np.isfinite(image)
        if missing is None:
            return cls(image)
        image[missing] = 0
        return cls(image, ~missing)

    def smoothed(self, sigma: NDArray[np.float64]) -> NDArray[np.float32]:
        """Gaussian mean of the pixels with data; 0 where none are near."""
        key = tuple(sigma.tolist())
        if key not in self.means:
            self.means[key] = self._smoothed(sigma)
        return self.means[key]

    def _smoothed(self, sigma: NDArray[np.float64]) -> NDArray[np.float32]:
        total = gaussian_mean(self.pixels, sigma)
        if self.data is None:
            return total
        weight: NDArray[np.float32] = with_odd_rows(self.data.shape, np.float32)
        weight[...] = self.data
        gaussian_mean(weight, sigma, in_place=True)
        return np.divide(total, weight, out=np.zeros_like(total), where=weight > 1e-3)

    def with_data(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values of the pixels with data: (P,), or of the shape of the image if all have."""
        return values if self.data is None else values[self.data]

    def only_data(self, mask: Mask) -> Mask:
        """The mask without the pixels that have no data."""
        return mask if self.data is None else mask & self.data

    def steps(self, each: int) -> NDArray[np.float32]:
        """Absolute differences (P,) of neighbours along x with data, in each so many-th row."""
        steps = np.abs(np.diff(self.pixels[..., ::each, :], axis=-1))
        if self.data is None:
            return steps.ravel()
        data = self.data[..., ::each, :]
        return steps[data[..., 1:] & data[..., :-1]]


def find_cells(
    stack: Stack,
    channel: str | None = None,
    *,
    t: int = 0,
    z: ZChoice = None,
    diameter_um: float | None = None,
    diameter: float | None = None,
    threshold: float | None = None,
    look_for: LookFor = "auto",
) -> Labels:
    """Label the cells or nuclei of one field with a `ThresholdFinder`.

    Parameters
    ----------
    stack : Stack
    channel : name of the channel that shows the cells; may be left out for a single channel and
        for colour pictures
    t, z : the field, see `Stack.field`
    diameter_um, diameter, threshold, look_for : see `ThresholdFinder`

    Returns
    -------
    int32 array, (Y, X), or (Z, Y, X) for ``z="volume"``; 0 is background, cells count from 1

    Raises
    ------
    InputError
        If the channel or the field does not exist or the scale makes no sense.
    """
    finder = ThresholdFinder(channel, diameter_um, diameter, threshold, look_for)
    view = FieldView.whole(stack, t, z).with_pixels(stack.channels)
    view = view.with_fill(stack.channels, _CROP)
    return finder.label(view, finder.measure(view))


def _labelled(
    mask: Mask, data: Mask | None, scale: FieldScale, spacing: tuple[float, ...]
) -> Labels:
    """Label image of the pixels above the threshold; ``data``: which pixels have data, None if all.

    No step looks further than a few diameters, so that a block that is read with a border holds
    the same cells as the whole field.
    """
    if scale.diameter is None or not mask.any():
        return np.zeros(mask.shape, np.int32)
    diameter = scale.diameter
    volume = _ball_volume(diameter / 2, spacing)
    # A ring of cells around empty field is no cell: only holes smaller than a cell are filled.
    mask = without_small_holes(mask, int(volume))
    mask = mask if data is None else mask & data
    parts, sizes = parts_larger_than(mask, max(4, int(volume / 6)))
    mask = parts > 0
    depth = distance_to_background(mask, spacing)
    # Smoothing keeps a ragged outline from cutting one cell in two.
    gaussian_mean(depth, diameter / 12 / np.array(spacing), in_place=True)
    depth *= mask
    return split_parts(parts, sizes, depth, max(1, round(diameter / 4)))


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
    longest = max(stack.data.shape[-2:])
    if diameter is not None and not diameter <= max(longest, _SMALL_FIELD):
        raise InputError(
            f"A cell diameter of {diameter:.4g} pixels is more than {stack.name} has, {longest}. "
            f"Check the pixel size ({pixel[-1]} um) and the diameter (--diameter-um)."
        )
    return diameter, _spacing(pixel)


def _sigma(smoothing: float, spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Standard deviations of the smoothing, in pixels of each axis."""
    return np.array([max(0.5, smoothing / 12) / step for step in spacing])


def _measured(
    images: Sequence[_Image],
    diameter: float | None,
    threshold: float | None,
    spacing: tuple[float, ...],
) -> FieldScale:
    """Threshold and diameter, as far as they are not given, from samples with bright cells."""
    smoothing = diameter or _UNKNOWN_DIAMETER
    if threshold is not None and diameter is not None:
        return FieldScale(threshold, diameter, smoothing)
    sigma = _sigma(smoothing, spacing)
    smooth = [image.smoothed(sigma) for image in images]
    if threshold is None:
        threshold = _otsu_above_noise(images, smooth, sigma)
    if diameter is None:
        pairs = zip(images, smooth, strict=True)
        masks = [image.only_data(one > threshold) for image, one in pairs]
        diameter = _median_diameter(masks, spacing)
    return FieldScale(threshold, diameter, smoothing)


def _spacing(pixel: tuple[float | None, ...]) -> tuple[float, ...]:
    """Voxel edges in units of the last axis; 1 where unknown."""
    known = pixel[-1]
    return tuple(1.0 if size is None or known is None else size / known for size in pixel)


def _otsu_above_noise(
    images: Sequence[_Image],
    smooth_images: Sequence[NDArray[np.float32]],
    sigma: NDArray[np.float64],
) -> float:
    """Otsu's threshold of the smoothed images; infinite where it only splits noise.

    Taken on the square root above the background: photon noise is even there, so that cells
    four times dimmer than their neighbours are still found.
    """
    pairs = zip(images, smooth_images, strict=True)
    smooth = np.concatenate([image.with_data(one) for image, one in pairs], axis=None)
    smooth.sort()
    if not len(smooth) or smooth[0] == smooth[-1]:
        return float("inf")
    threshold = otsu_of_root(smooth)
    # Pixel noise from differences of neighbours (median, so that edges do not count), and
    # what Gaussian smoothing leaves of it.
    each = max(1, sum(image.pixels.size for image in images) // _STEPS) | 1
    steps = np.concatenate([image.steps(each) for image in images])
    noise = np.median(steps) / (0.6745 * np.sqrt(2)) if len(steps) else 0.0
    noise /= float(np.prod(np.sqrt(2 * np.sqrt(np.pi) * sigma)))
    is_signal = contrast(smooth, threshold) > _MIN_CONTRAST_IN_NOISE * noise
    return threshold if is_signal else float("inf")


def _median_diameter(
    masks: Sequence[NDArray[np.bool_]], spacing: tuple[float, ...]
) -> float | None:
    """Median diameter of the connected objects of masks, as discs or balls of their size."""
    sizes = np.concatenate([sizes_without_holes(mask) for mask in masks])
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
