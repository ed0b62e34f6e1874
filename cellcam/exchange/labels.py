"""Open the cells that a user gives for an image: a label image, or outlines of another program."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.label_files import labels_from_array, open_label_image
from cellcam.cells.user_labels import LARGEST_LABEL, UserLabels
from cellcam.errors import InputError
from cellcam.exchange.cells import NOT_STATED, Cells, Outline
from cellcam.exchange.formats import CellFormat, Contents, reading_format
from cellcam.exchange.spans import Spans, spans_of
from cellcam.stacks.formats import name_without_ending
from cellcam.stacks.stack import Stack

# What is read of a plane at a time.
_CHUNK = 2048
_MOST_NAMED = 5


def open_labels(
    path: str | Path, image: Stack, axes: str | None = None, series: int | None = None
) -> UserLabels:
    """Open the user's cells of an image: a label image, or a file of outlines.

    Label images follow the rules of `UserLabels`. Outlines are in pixels of the image, from its
    upper left corner; a pixel belongs to the cell that holds its centre, or to the first of
    several. Outlines that state no plane serve all planes, as a label image of one plane does.

    Parameters
    ----------
    path : file; its ending says what it is, see `cellcam.exchange.formats`
    image : the image whose cells they are
    axes, series : what the user says about the image's file; tried for a label image, too

    Returns
    -------
    UserLabels, checked against the image

    Raises
    ------
    InputError
        If it cannot be read, holds no outlines, or does not fit the image.
    """
    path = Path(path)
    found = _contents(path)
    if found is None:
        return open_label_image(path, image, axes, series)
    if isinstance(found, np.ndarray):
        return labels_from_array(found, path, image, axes)
    cells = found if isinstance(found, Cells) else _of_image(found, path, image)
    return _labels_of(cells, path, image)


def cells_in(path: Path, image: Stack) -> Cells | None:
    """The cells of an image in a file of outlines, with their classes; None in other files.

    Raises
    ------
    InputError
        If the file cannot be read, or holds the cells of other images only.
    """
    found = _contents(path)
    if found is None or isinstance(found, np.ndarray):
        return None
    return found if isinstance(found, Cells) else _of_image(found, path, image)


def shape_in(path: Path) -> tuple[int, int, int, int]:
    """Shape (T, Z, Y, X) of the image that the cells in a file are of.

    As the file states it; else as large as the cells need.

    Raises
    ------
    InputError
        If the file cannot be read, or holds the cells of several images, or no outlines.
    """
    found = _contents(path)
    if isinstance(found, np.ndarray) and found.ndim == 2:
        return 1, 1, *found.shape
    images = [found] if isinstance(found, Cells) else found
    if not isinstance(images, list) or len(images) != 1:
        raise InputError(f"{path} does not say which image its cells are of. Open the image first.")
    cells = images[0]
    outer = [polygon[0] for outline in cells.outlines for polygon in outline]
    if not outer:
        raise InputError(f"{path} holds no outlines of cells.")
    n_times, n_planes = (cells.planes.clip(0).max(axis=0) + 1).tolist()
    width, height = np.ceil(_box(outer)[1]).astype(int).tolist()
    return n_times, n_planes, *(cells.image.shape or (height, width))


def _contents(path: Path) -> Contents | None:
    """What a file of other programs' cells holds; None of a file that is an image."""
    known = reading_format(path)
    return None if known is None else _read(path, known, _state(path))


def _state(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Check the path.") from error
    return state.st_size, state.st_mtime_ns


@lru_cache(4)  # the blocks of a huge image open it one by one
def _read(path: Path, known: CellFormat, state: tuple[int, int]) -> Contents:
    return known.read(path)


def _of_image(images: Sequence[Cells], path: Path, image: Stack) -> Cells:
    """The cells of this image, by its name, in a file of several images."""
    if len(images) == 1:
        return images[0]
    found = [cells for cells in images if name_without_ending(cells.image.name) == image.name]
    if len(found) != 1:
        names = ", ".join(cells.image.name for cells in images[:_MOST_NAMED])
        raise InputError(
            f"{path} holds the cells of {len(images)} images ({names}), of which {len(found)} have "
            f"the name {image.name}. Give a file with the cells of this image."
        )
    return found[0]


def _labels_of(cells: Cells, path: Path, image: Stack) -> UserLabels:
    outlined = np.array([bool(outline) for outline in cells.outlines])
    if not outlined.any():
        raise InputError(
            f"{path} holds {len(cells)} points and no outline. Cells need outlines here; points "
            "with classes train a model as a cell table (cellcam train points.csv)."
        )
    notes = list(cells.notes)
    if not outlined.all():
        notes.append(f"{(~outlined).sum()} points of {path.name} have no outline: left out.")
    _check_image(cells, path, image)
    stated = bool((cells.planes != NOT_STATED).any())
    planes = _planes(cells, path, image) if stated else np.zeros_like(cells.planes)
    if not stated and image.data.shape[0] * image.data.shape[2] > 1:
        notes.append(f"{path.name} states no planes: its cells were taken for all planes.")
    spans: dict[tuple[int, int], Spans] = {}
    for plane in np.unique(planes[outlined], axis=0).tolist():
        here = np.flatnonzero(outlined & (planes == plane).all(axis=1))
        found, said = _spans(cells, here, path, image)
        spans[plane[0], plane[1]] = found
        notes += said
    if not any(found.n_pixels.any() for found in spans.values()):
        raise InputError(
            f"{path} holds no cell that covers the centre of a pixel of {image.name}. Outlines are "
            "in pixels of the full resolution, not in um."
        )
    n_times, _, n_planes, *size = image.data.shape
    shape = (n_times, 1, n_planes, *size) if stated else (1, 1, 1, *size)
    return UserLabels(_stack(spans, shape, path.name), tuple(notes), outlined=True)


def _check_image(cells: Cells, path: Path, image: Stack) -> None:
    stated, size = cells.image.shape, image.data.shape[-2:]
    if stated is not None and stated != size:
        raise InputError(
            f"{path} is about an image of {stated[0]} x {stated[1]} pixels (y, x); {image.name} "
            f"has {size[0]} x {size[1]}. Outlines are in pixels of their image."
        )


def _planes(cells: Cells, path: Path, image: Stack) -> NDArray[np.int64]:
    """Time point and plane of each cell: (N, 2), 0 where it is not stated."""
    n_times, _, n_planes = image.data.shape[:3]
    stated = cells.planes != NOT_STATED
    planes = np.where(stated, cells.planes, 0)
    if n_planes == 1 < n_times:
        # A format with one number for both, such as a position in a stack of ImageJ.
        either = ~stated[:, 0] & stated[:, 1]
        planes[either] = planes[either][:, ::-1]
    outside = (planes < 0) | (planes >= (n_times, n_planes))
    if outside.any():
        first = int(np.flatnonzero(outside.any(axis=1))[0])
        t, z = planes[first].tolist()
        raise InputError(
            f"{path}: cell {cells.ids[first]} is on time point {t} and plane {z}; {image.name} has "
            f"{n_times} and {n_planes}, from 0. Are they the cells of this image?"
        )
    return planes


def _spans(
    cells: Cells, chosen: NDArray[np.intp], path: Path, image: Stack
) -> tuple[Spans, list[str]]:
    """Pixels of the cells of one plane, and what the user must know about them."""
    outlines = [cells.outlines[i] for i in chosen]
    names = [cells.ids[i] for i in chosen]
    numbers = cells.numbers[chosen]
    if int(numbers.max()) > LARGEST_LABEL:
        raise InputError(
            f"{path} holds the number {numbers.max()}; labels lie between 1 and {LARGEST_LABEL}. "
            "Number the cells again, from 1."
        )
    cut = _check_inside(outlines, names, path, image)
    height, width = image.data.shape[-2:]
    found = spans_of(outlines, numbers, (height, width))
    notes = []
    if cut.any():
        notes.append(f"Cut off at the edge of the image: {_listed(names, cut)} of {path.name}.")
    if (found.n_pixels == 0).any():
        listed = _listed(names, np.asarray(found.n_pixels == 0))
        notes.append(f"Smaller than a pixel, and left out: {listed} of {path.name}.")
    if found.n_shared:
        notes.append(
            f"Cells of {path.name} overlap in {found.n_shared} pixels, which belong to the cell "
            "that is listed first."
        )
    return found, notes


def _check_inside(
    outlines: Sequence[Outline], names: Sequence[str], path: Path, image: Stack
) -> NDArray[np.bool_]:
    """Which outlines reach out of the image by more than a pixel; one outside is refused."""
    height, width = image.data.shape[-2:]
    boxes = [_box([polygon[0] for polygon in outline]) for outline in outlines]
    low, high = (np.array([box[end] for box in boxes]) for end in (0, 1))
    outside = np.asarray((high <= 0).any(axis=1) | (low >= (width, height)).any(axis=1))
    if outside.any():
        raise InputError(
            f"{path}: outside {image.name}, which has {height} x {width} pixels (y, x), lie "
            f"{_listed(names, outside)}. Outlines are in pixels of the full resolution, from the "
            "upper left corner of the image they were drawn on."
        )
    cut = (low < -1).any(axis=1) | (high > (width + 1, height + 1)).any(axis=1)
    return np.asarray(cut)


def _box(rings: Sequence[NDArray[np.number]]) -> tuple[NDArray[np.number], NDArray[np.number]]:
    """Least and greatest x, y."""
    corners = rings[0] if len(rings) == 1 else np.concatenate(rings)
    return corners.min(axis=0), corners.max(axis=0)


def _listed(names: Sequence[str], chosen: NDArray[np.bool_]) -> str:
    found = [name for name, is_one in zip(names, chosen, strict=True) if is_one]
    more = ", ..." if len(found) > _MOST_NAMED else ""
    cells = "1 cell" if len(found) == 1 else f"{len(found)} cells"
    return f"{cells} ({', '.join(found[:_MOST_NAMED])}{more})"


class _OutlinePixels:
    """Array-like TCZYX view of outlines, painted where it is read."""

    dtype, ndim = np.dtype(np.int32), 5

    def __init__(self, spans: dict[tuple[int, int], Spans], shape: tuple[int, ...]) -> None:
        self.spans, self.shape = spans, shape

    def __getitem__(self, region: tuple[slice | int, ...]) -> NDArray[np.int32]:
        times, _, planes, rows, columns = (
            np.arange(n)[part] for part, n in zip(region, self.shape, strict=True)
        )
        window = _limits(rows) + _limits(columns)
        size = (times.size, 1, planes.size, window[1] - window[0], window[3] - window[2])
        painted = np.zeros(size, np.int32)
        for i, t in enumerate(times.ravel().tolist()):
            for j, z in enumerate(planes.ravel().tolist()):
                if (t, z) in self.spans:
                    painted[i, 0, j] = self.spans[t, z].paint(*window)
        chosen = (0 if isinstance(part, int | np.integer) else slice(None) for part in region)
        return np.asarray(painted[tuple(chosen)])


def _limits(places: NDArray[np.intp]) -> tuple[int, int]:
    """First and last of consecutive places, half-open."""
    return (int(places.min()), int(places.max()) + 1) if places.size else (0, 0)


def _stack(spans: dict[tuple[int, int], Spans], shape: tuple[int, ...], name: str) -> Stack:
    """Label image of outlines."""
    import dask.array as da

    stored = min(shape[-2], _CHUNK), min(shape[-1], _CHUNK)
    pixels = _OutlinePixels(spans, shape)
    data = da.from_array(pixels, chunks=(1, 1, 1, *stored), asarray=False, name=False)
    return Stack(data, ("cells",), name=name, stored=stored)
