"""The user's own label images: one set of rules, and a finder that takes the cells from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from cellcam.cells.extents import largest_extent
from cellcam.cells.finder import FieldView, Labels, Pixels
from cellcam.errors import InputError
from cellcam.stacks.stack import Stack, ZChoice


@dataclass(frozen=True)
class UserLabels:
    """The cells of the user's label image.

    Attributes
    ----------
    labels : label image of one channel, of the image's height and width
        One plane serves all planes of the image, one time point all time points.
    """

    name: ClassVar[str] = "user labels"
    is_local: ClassVar[bool] = True
    channels: ClassVar[tuple[str, ...]] = ()

    labels: Stack

    @classmethod
    def from_array(cls, labels: Pixels) -> UserLabels:
        """Labels of one field in memory, (Y, X) or (Z, Y, X); axes of length 1 are dropped."""
        labels = np.asarray(labels)
        if labels.ndim > 2:
            shape = [n for n in labels.shape[:-2] if n > 1]
            labels = labels.reshape(*shape, *labels.shape[-2:])
        if labels.ndim not in (2, 3):
            raise InputError(
                f"A label image of one field has the axes (Y, X) or (Z, Y, X), not the shape "
                f"{labels.shape}."
            )
        return cls(Stack.from_array(labels, "ZYX"[-labels.ndim :], name="labels"))

    def for_stack(self, stack: Stack, channel: str | None, diameter_um: float | None) -> Self:
        """Same finder; the label image must have one channel, and fit the stack's time points.

        Raises
        ------
        InputError
            If it does not.
        """
        n_times, n_channels = self.labels.data.shape[:2]
        if n_channels != 1 or n_times not in (1, stack.data.shape[0]):
            raise InputError(
                f"The label image {self.labels.name} has shape {self.labels.data.shape} (TCZYX); "
                f"it needs one channel and 1 or {stack.data.shape[0]} time points."
            )
        return self

    def measure(self, view: FieldView) -> None:
        """Nothing: labels are what they are."""

    def label(self, view: FieldView, measured: object) -> Labels:
        """The label image's part of a view; a plane or a part of it may hold no cell.

        Raises
        ------
        InputError
            If it is no label image, does not fit the view, or holds no cell anywhere.
        """
        part = self.labels.cut(*view.part.slices)
        pixels = _field(part, view.stack.data.shape[2], view.t, view.z)
        labels = check_labels(pixels, view.shape)
        if not labels.any() and not self._holds_cells:
            raise InputError("The label image holds no cell: every pixel is 0.")
        return labels

    def border(self, measured: object) -> int:
        """Pixels along y or x of the largest cell."""
        return self._largest_extent

    @cached_property
    def _holds_cells(self) -> bool:
        return bool(self.labels.data.any().compute(scheduler="threads"))

    @cached_property
    def _largest_extent(self) -> int:
        return largest_extent(self.labels)


def check_labels(labels: Pixels, shape: tuple[int, ...]) -> Labels:
    """The user's own label image, checked.

    Parameters
    ----------
    labels : integer array, 0 for background; axes of length 1 are dropped
    shape : the field's (Y, X) or (Z, Y, X)

    Raises
    ------
    InputError
        If it is no label image, or does not fit the field.
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
    return labels.reshape(shape).astype(np.int32)


def _field(labels: Stack, n_planes: int, t: int, z: ZChoice) -> Pixels:
    """Labels of one field of an image with ``n_planes`` planes: (Y, X), or (Z, Y, X)."""
    t = t if labels.data.shape[0] > 1 else 0
    if labels.data.shape[2] == 1:
        return labels.field(t)[0]
    if z in ("max", "mean"):
        raise InputError(f"The label image {labels.name} has planes, the field is a projection.")
    whole = labels.data.shape[2] == n_planes
    return labels.field(t, "volume" if z is None and whole else z)[0]
