"""Open the label image that belongs to an image: which of its axes are time points and planes?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cellcam.cells.finder import Pixels
from cellcam.cells.user_labels import UserLabels
from cellcam.errors import InputError
from cellcam.stacks.image_file import UnstatedFactError
from cellcam.stacks.opening import open_stack
from cellcam.stacks.stack import Stack

_LOSSY = (".jpg", ".jpeg")
_HOW_TO_SAY = (
    "Save it with its axes stated: as OME-TIFF, or in Fiji with Image > Properties (slices, "
    "frames) set."
)


def open_label_image(
    path: str | Path, image: Stack, axes: str | None = None, series: int | None = None
) -> UserLabels:
    """Open the user's label image of an image; the rules are those of `UserLabels`.

    `cellcam.exchange.labels.open_labels` takes outlines, too.

    A file that does not say which of its axes are time points or planes, as Cellpose and napari
    write it, has the image's axes where its shape fits them.

    Parameters
    ----------
    path : file
    image : the image whose cells they are
    axes, series : what the user says about the image's file; tried for the labels, too

    Returns
    -------
    UserLabels, checked against the image

    Raises
    ------
    InputError
        If it cannot be read, is no label image, or does not fit the image.
    """
    path = Path(path)
    if path.suffix.lower() in _LOSSY:
        raise InputError(
            f"{path} is a JPEG, which changes the numbers of a label image. Save it as TIFF or PNG."
        )
    labels = _opened(path, image, axes, series)
    return UserLabels(labels).for_stack(image, None, None)


def labels_from_array(
    labels: Pixels, path: Path, image: Stack, axes: str | None = None
) -> UserLabels:
    """The user's labels of an image in memory, whose axes are those of the image that fit.

    Parameters
    ----------
    labels : with any axes before y and x
    path : for messages
    image, axes : see `open_label_image`

    Raises
    ------
    InputError
        If they do not fit the image.
    """
    if labels.dtype.kind not in "buif":
        raise InputError(f"{path} holds {labels.dtype}; labels are whole numbers.")
    names = _axes(labels.shape, image, axes, path)
    short = tuple(i for i, axis in enumerate(names) if axis not in "TZYX")
    kept = "".join(axis for axis in names if axis in "TZYX")
    opened = Stack.from_array(labels.squeeze(short), kept, ["cells"], name=path.name)
    return UserLabels(opened).for_stack(image, None, None)


def _opened(path: Path, image: Stack, axes: str | None, series: int | None) -> Stack:
    try:
        return open_stack(path)
    except UnstatedFactError as unstated:
        stated = unstated.images
    if len(stated) > 1 and series not in stated:
        raise InputError(
            f"{path} holds {len(stated)} images. Save the label image alone, or as the image of "
            "the same number as in the image's file (--series)."
        )
    number = series if len(stated) > 1 else None
    found = stated[next(iter(stated)) if number is None else number]
    known = found.axes if set(found.axes) <= set("TCZYXS") else None
    return open_stack(path, axes=known or _axes(found.shape, image, axes, path), series=number)


def _axes(shape: Sequence[int], image: Stack, axes: str | None, path: Path) -> str:
    """Axes of a label image of this shape: those of the image that fit."""
    n_times, _, n_planes, height, width = image.data.shape
    written = " x ".join(map(str, shape))
    if len(shape) < 2 or tuple(shape[-2:]) != (height, width):
        raise InputError(
            f"{path} has shape {written}; the image {image.name} has {height} x {width} pixels "
            "(y, x). A label image has the size of its image."
        )
    sizes = {"T": n_times, "Z": n_planes}
    long = [n for n in shape[:-2] if n > 1]
    orders = [order for order in ("TZ", "ZT", "T", "Z", "") if len(order) == len(long)]
    fitting = [
        order
        for order in orders
        if all(sizes[axis] == n for axis, n in zip(order, long, strict=True))
    ]
    said = "".join(axis for axis in (axes or "").upper() if axis in "TZ" and sizes[axis] > 1)
    if len(fitting) > 1 and said in fitting:
        fitting = [said]
    if len(fitting) != 1:
        has = f"{n_times} time points and {n_planes} planes"
        why = "could be either" if fitting else "is neither"
        raise InputError(
            f"{path} has shape {written} and does not say what its axes mean; {image.name} has "
            f"{has}, and {' x '.join(map(str, long))} {why}. {_HOW_TO_SAY}"
        )
    return _with_short_axes(fitting[0], shape)


def _with_short_axes(order: str, shape: Sequence[int]) -> str:
    """Letters for all axes: those of ``order`` for the long ones, unused ones for length 1."""
    unused = iter([axis for axis in "CTZS" if axis not in order])
    long = iter(order)
    return "".join(next(long if n > 1 else unused, "?") for n in shape[:-2]) + "YX"
