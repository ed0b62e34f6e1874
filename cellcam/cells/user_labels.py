"""The user's own label images: one set of rules, and a finder that takes the cells from them.

Rules, the same for explaining, batches, the window and training:

- numbers are whole (floating point, too), 0 for background, at most 2147483647;
- height and width are those of the image; time points and planes are one, or those of the image;
- a yes/no mask, one number on several pieces, holds one cell for each connected piece;
- a number on several distant pieces is no cell that can be called.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from cellcam.cells.finder import FieldView, Labels, Pixels
from cellcam.cells.pieces import Pieces, pieces_of
from cellcam.errors import InputError
from cellcam.stacks.blocks import block_shape
from cellcam.stacks.stack import Stack, ZChoice

LARGEST_LABEL = 2**31 - 1
# So many numbers, most of them on distant pieces, are intensities and not some broken cells.
_MANY_NUMBERS = 10
# Pixels of a band of a label image that is read at once.
_BAND_PIXELS = 2**24
_CLASSES_OF_PIXELS = (
    "Every number of the label image lies on several distant pieces: it looks like classes of "
    "pixels, not like cells, so no cell was called. Give each cell a number of its own."
)
_INTENSITIES = (
    "Most numbers of the label image lie on several distant pieces: it looks like intensities, not "
    "like cells, so no cell was called. Give the label image of this image."
)
_SEVERAL_PIECES = (
    "Numbers of the label image that lie on several distant pieces: {}. They have no call (flag "
    "several_pieces). Give each cell a number of its own."
)
_MASK = (
    "The label image {} is a yes/no mask: each connected piece was taken as a cell. Cells that "
    "touch count as one."
)


@dataclass(frozen=True)
class LabelFacts:
    """Facts about the labels of a whole field, so that all its blocks are treated alike.

    Attributes
    ----------
    several_pieces : labels that lie on several distant pieces, see `Pieces.distant`
    largest_extent : pixels along y or x of the largest of the other cells
    n_cells : number of labels
    are_intensities : whether most labels lie on several distant pieces, so that none is a cell
    """

    several_pieces: tuple[int, ...] = ()
    largest_extent: int = 0
    n_cells: int = 0
    are_intensities: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user must know about the labels."""
        n = len(self.several_pieces)
        if not n:
            return ()
        if self.are_intensities:
            return (_INTENSITIES,)
        if n > 1 and n == self.n_cells:
            return (_CLASSES_OF_PIXELS,)
        listed = ", ".join(map(str, self.several_pieces[:5])) + (", ..." if n > 5 else "")
        return (_SEVERAL_PIECES.format(listed),)


@dataclass(frozen=True)
class UserLabels:
    """The cells of the user's label image.

    Attributes
    ----------
    labels : label image of one channel, of the image's height and width
        One plane serves all planes of the image, one time point all time points.
    decided : what was decided about its axes, for the user
    outlined : whether its numbers are known to be cells, since they come from outlines
    """

    name: ClassVar[str] = "user labels"
    channels: ClassVar[tuple[str, ...]] = ()

    labels: Stack
    decided: tuple[str, ...] = ()
    outlined: bool = False

    @classmethod
    def from_array(cls, labels: Pixels) -> UserLabels:
        """Labels of one field in memory, (Y, X) or (Z, Y, X); axes of length 1 are dropped."""
        labels = np.asarray(labels)
        planes = [n for n in labels.shape[:-2] if n > 1]
        labels = labels.reshape([*planes, *labels.shape[-2:]])
        if labels.ndim not in (2, 3):
            raise InputError(
                f"A label image of one field has the axes (Y, X) or (Z, Y, X), not the shape "
                f"{labels.shape}."
            )
        return cls(Stack.from_array(labels, "ZYX"[-labels.ndim :], name="labels"))

    @property
    def is_local(self) -> bool:
        """Whether it can be cut in blocks: not a mask, whose pieces are numbered as a whole."""
        return not self.is_mask

    @property
    def notes(self) -> tuple[str, ...]:
        """What was decided about the label image, for the user."""
        return (*self.decided, _MASK.format(self.labels.name)) if self.is_mask else self.decided

    def for_stack(self, stack: Stack, channel: str | None, diameter_um: float | None) -> UserLabels:
        """Same finder with the stack's meaning of its axes; no pixels are read.

        Raises
        ------
        InputError
            If its size, channels, time points or planes are not those of the stack.
        """
        labels, image = self.labels, stack.data.shape
        if labels.data.dtype.kind not in "buif":
            raise InputError(
                f"The label image {labels.name} holds {labels.data.dtype}; it needs whole numbers."
            )
        if labels.data.shape[-2:] != image[-2:]:
            raise InputError(
                f"The label image {labels.name} has {_size(labels)} pixels (y, x), the image "
                f"{stack.name} has {_size(stack)}. A label image has the size of its image."
            )
        for axes, meaning in _MEANINGS.items():
            data = labels.data.transpose([_AXIS[axis] for axis in axes])
            if data.shape[1] == 1 and _fits(data.shape, image):
                decided = (*self.decided, meaning.format(labels.name)) if meaning else self.decided
                named = replace(labels, data=data, channels=("cells",))
                return replace(self, labels=named, decided=decided)
        if labels.data.shape[1] > 1:
            raise InputError(
                f"The label image {labels.name} has {labels.data.shape[1]} channels or colours. "
                "It needs one: save the numbers of the cells, not a picture of them."
            )
        raise InputError(
            f"The label image {labels.name} has {_planes(labels)}, the image {stack.name} has "
            f"{_planes(stack)}. A label image has as many as its image, or one of each."
        )

    def measure(self, view: FieldView) -> LabelFacts:
        """Pieces and sizes of the cells of a whole field; it is read in bands of rows.

        Raises
        ------
        InputError
            See `label`.
        """
        if self.is_mask:
            return LabelFacts()
        pieces = pieces_of(self._bands(view))
        several = pieces.distant()
        self._refuse_inverted(pieces, view)
        numbers = np.unique(pieces.number)
        if len(numbers) == 2 and len(several) and self._background_is_missing:
            low, high = numbers.tolist()
            raise InputError(
                f"The label image {self.labels.name} holds the numbers {low} and {high} and no "
                "background (0). Set the background to 0 and number the cells."
            )
        if view.part.shape == view.part.whole:
            self._refuse_numbered_background(pieces, view)
        if _MANY_NUMBERS <= len(numbers) < 2 * len(several) < 2 * len(numbers):
            return LabelFacts(tuple(numbers.tolist()), 0, len(numbers), are_intensities=True)
        return LabelFacts(tuple(several.tolist()), pieces.largest_extent(several), len(numbers))

    def label(self, view: FieldView, measured: object) -> Labels:
        """The label image's part of a view; a plane or a part of it may hold no cell.

        Raises
        ------
        InputError
            If it is no label image, does not fit the view, or holds no cell anywhere.
        """
        pixels = self._pixels(view)
        if self.is_mask:
            labels = self._numbered(pixels, view)
        else:
            labels = check_labels(pixels, view.shape, self.labels.name)
        if not self._n_numbers:
            raise InputError(f"The label image {self.labels.name} holds no cell: every pixel is 0.")
        return labels

    def border(self, measured: object) -> int:
        """Pixels along y or x of the largest cell."""
        return measured.largest_extent if isinstance(measured, LabelFacts) else 0

    @cached_property
    def is_mask(self) -> bool:
        """Whether it only says yes or no, and means several cells.

        One number lies on several pieces of a plane. True and false alone are a mask, too.
        """
        if self.outlined:
            return False
        if self.labels.data.dtype.kind == "b":
            return True
        return self._n_numbers == 1 and any(
            _n_pieces(pixels) > 1 for pixels in self._planes_of_file()
        )

    @cached_property
    def _n_numbers(self) -> int:
        """How many numbers other than 0 the label image holds: none, 1, or at least 2."""
        found: set[float] = set()
        for pixels in self._planes_of_file():
            found |= set(np.unique(pixels[pixels != 0]).tolist())
            if len(found) > 1:
                break
        return len(found)

    @cached_property
    def _background_is_missing(self) -> bool:
        return all((pixels != 0).all() for pixels in self._planes_of_file())

    def _planes_of_file(self) -> Iterator[Pixels]:
        """All (t, z) planes, in bands of rows where they are large."""
        rows = _rows(self.labels)
        n_times, _, n_planes, height, _ = self.labels.data.shape
        for t, z in np.ndindex(n_times, n_planes):
            for top in range(0, height, rows):
                yield self.labels.cut(slice(top, top + rows), slice(None)).field(t, int(z))[0]

    def _bands(self, view: FieldView) -> Iterator[Labels]:
        """Labels of a view in bands of rows."""
        part = view.part
        rows = _rows(self.labels)
        left, right = part.start[1], part.stop[1]
        for top in range(part.start[0], part.stop[0], rows):
            band = self.labels.cut(slice(top, min(top + rows, part.stop[0])), slice(left, right))
            pixels = _field(band, view.t, view.z)
            yield check_labels(pixels, pixels.shape, self.labels.name)

    def _pixels(self, view: FieldView) -> Pixels:
        return _field(self.labels.cut(*view.part.slices), view.t, view.z)

    def _numbered(self, mask: Pixels, view: FieldView) -> Labels:
        """The connected pieces of a mask of a whole field, numbered in reading order."""
        if view.part.shape != view.part.whole:
            raise InputError(mask_is_too_large(self.labels.name))
        _check_shape(mask, view.shape, self.labels.name)
        return _pieces_as_cells(mask)

    def _refuse_inverted(self, pieces: Pieces, view: FieldView) -> None:
        """A single cell from edge to edge with several holes is a background."""
        if (
            self.outlined
            or len(pieces.number) != 1
            or (pieces.stop - pieces.start)[0].tolist() != [*view.shape]
        ):
            return
        pixels = self._pixels(view)
        if (pixels != 0).mean() > 0.5 and _n_pieces(pixels == 0) > 1:
            raise InputError(
                f"The label image {self.labels.name} seems to be inverted: the background is "
                "marked, not the cells. Invert it."
            )

    def _refuse_numbered_background(self, pieces: Pieces, view: FieldView) -> None:
        """A number from edge to edge, in an image without 0, is the background."""
        if self.outlined or len(set(pieces.number)) < 2:
            return
        largest = int(pieces.area.argmax())
        size = (pieces.stop - pieces.start)[largest].tolist()
        is_much = 5 * pieces.area[largest] > pieces.area.sum()
        if size == [*view.shape] and is_much and self._background_is_missing:
            raise InputError(
                f"The label image {self.labels.name} has no background (0): the number "
                f"{pieces.number[largest]} lies between the cells, from edge to edge. Set it to 0."
            )


def mask_is_too_large(name: str) -> str:
    """Why a yes/no mask of a huge image cannot be used, and what to do."""
    return (
        f"The label image {name} is a yes/no mask, and too large for its pieces to be numbered "
        "here. Give each cell a number of its own before (in Fiji: Analyze Particles, count masks)."
    )


def check_labels(labels: Pixels, shape: tuple[int, ...], name: str = "labels") -> Labels:
    """The user's own label image, checked.

    Parameters
    ----------
    labels : whole numbers, 0 for background; axes of length 1 are dropped
    shape : the field's (Y, X) or (Z, Y, X)
    name : for messages

    Raises
    ------
    InputError
        If it is no label image, or does not fit the field.
    """
    labels = np.asarray(labels)
    _check_shape(labels, shape, name)
    if labels.dtype.kind not in "uif":
        raise InputError(f"The label image {name} holds {labels.dtype}; it needs whole numbers.")
    if labels.dtype.kind == "f":
        _check_whole(labels, name)
    low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
    if low < 0 or high > LARGEST_LABEL:
        raise InputError(
            f"The label image {name} holds the number {low if low < 0 else high}; labels lie "
            f"between 0 (background) and {LARGEST_LABEL}. Number the cells again, from 1."
        )
    return labels.reshape(shape).astype(np.int32)


def _check_shape(labels: Pixels, shape: tuple[int, ...], name: str) -> None:
    squeezed = labels.reshape([n for n in labels.shape if n > 1]) if labels.ndim > 2 else labels
    if squeezed.shape != tuple(n for n in shape if n > 1) and labels.shape != shape:
        raise InputError(f"The label image {name} has shape {labels.shape}, the field {shape}.")


def _check_whole(labels: Pixels, name: str) -> None:
    """Refuse floating-point labels that are not whole numbers."""
    if not np.isfinite(labels).all():
        raise InputError(
            f"The label image {name} holds NaN or infinity. Set these pixels to 0, background."
        )
    broken = np.asarray(labels % 1 != 0)
    if broken.any():
        place = tuple(int(i) for i in np.argwhere(broken)[0])
        raise InputError(
            f"The label image {name} holds fractions, such as {float(labels[place])!r} at "
            f"{place}. Labels are whole numbers: an image that was resized or filtered must be "
            "labelled again (or resized without interpolation)."
        )


def _n_pieces(mask: Pixels) -> int:
    from scipy import ndimage

    everywhere = np.ones((3,) * mask.ndim)
    return int(ndimage.label(mask != 0, everywhere)[1])


def _pieces_as_cells(mask: Pixels) -> Labels:
    from scipy import ndimage

    labels: Labels = ndimage.label(mask != 0, np.ones((3,) * mask.ndim), output=np.int32)[0]
    return labels


_AXIS = {axis: i for i, axis in enumerate("TCZYX")}
# Other programs take frames for planes (Fiji), or either for channels: the image decides.
_MEANINGS = {
    "TCZYX": "",
    "ZCTYX": "The planes of the label image {} were taken as time points, which the image has.",
    "CTZYX": "The channels of the label image {} were taken as time points, which the image has.",
    "TZCYX": "The channels of the label image {} were taken as planes, which the image has.",
}


def _fits(labels: tuple[int, ...], image: tuple[int, ...]) -> bool:
    return labels[0] in (1, image[0]) and labels[2] in (1, image[2])


def _size(stack: Stack) -> str:
    return " x ".join(map(str, stack.data.shape[-2:]))


def _planes(stack: Stack) -> str:
    n_times, _, n_planes = stack.data.shape[:3]
    times = "1 time point" if n_times == 1 else f"{n_times} time points"
    return f"{times} and {'1 plane' if n_planes == 1 else f'{n_planes} planes'}"


def _rows(labels: Stack) -> int:
    """Rows of a band: whole tiles or strips of the file."""
    n_planes, _, width = labels.data.shape[-3:]
    step = block_shape(labels)[0] if labels.stored and labels.stored[0] > 1 else 1
    return max(step, _BAND_PIXELS // (n_planes * width) // step * step, 1)


def _field(labels: Stack, t: int, z: ZChoice) -> Pixels:
    """Labels of one field: (Y, X), or (Z, Y, X)."""
    t = t if labels.data.shape[0] > 1 else 0
    if labels.data.shape[2] == 1:
        return labels.field(t)[0]
    if z in ("max", "mean"):
        raise InputError(
            f"The label image {labels.name} has planes, the field is a projection. Give a label "
            "image of the projection, or choose the planes (--z each, --z 3)."
        )
    return labels.field(t, z)[0]
