"""How large the crops of a training are, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cellcam.errors import InputError
from cellcam.stacks.stack import Stack
from cellcam_training.tables.cell_sizes import cell_sizes
from cellcam_training.tables.cell_table import CellTable
from cellcam_training.tables.places_fit import misplaced
from cellcam_training.tables.table_checks import READY_MADE

if TYPE_CHECKING:
    from cellcam_training.tables.crops import CropSettings

# A crop is 1.5 times as long as 9 of 10 cells, a multiple of 8.
_MARGIN, _MOST_CELLS, _MULTIPLE = 1.5, 0.9, 8
_SMALLEST, _LARGEST, _LARGEST_UNSCALED = 32, 128, 256

_STATE_THE_SIZE = "Give the size of the crops in pixels, about 1.5 times a cell: --crop-size 64."


@dataclass(frozen=True)
class CropChoice:
    """Size of the crops of a training.

    Attributes
    ----------
    size : pixels, (y, x) or (z, y, x)
    pixel_size_um : of a crop, (y, x) or (z, y, x); None if unknown
    why : reason for the size, as part of a sentence
    """

    size: tuple[int, ...]
    pixel_size_um: tuple[float, ...] | None
    why: str


def chosen_crops(
    table: CellTable, settings: CropSettings, opened: Callable[[str], Stack]
) -> CropChoice:
    """Size that was asked for, or one that shows the cells of the table whole.

    Cells larger than 85 pixels are seen at a coarser pixel size, where that is known.

    Raises
    ------
    InputError
        If the size must be stated, because the table does not show it.
    """
    first = opened(min(table.rows["image"]))
    pixel_size = settings.pixel_size_um or _pixel_size(table, settings, first)
    if pixel_size is None and table.place not in READY_MADE:
        _check_scales(table, opened)
    if settings.crop_size:
        return CropChoice(settings.crop_size, pixel_size, "as it was asked for")
    if table.place in READY_MADE:
        return CropChoice(_common_size(table, settings, opened), pixel_size, "as the images are")
    if settings.n_axes == 3 and table.place != "label":
        raise InputError(
            "The table does not say how deep the cells are. Give the size of the crops, such as "
            "--crop-size 16,64,64 (z, y, x in pixels)."
        )
    # Sizes are measured in pixels of the crops, which have the first image's pixel size.
    scaled = replace(settings, pixel_size_um=pixel_size)
    sizes = cell_sizes(table, scaled, opened)
    if sizes is None or not len(sizes.sides):
        way_out = misplaced(table, scaled, opened) or (_STATE_THE_SIZE,)
        raise InputError(
            "The table has centres, which do not say how large the cells are, and the images do "
            f"not show it clearly around them. {way_out[0]}"
        )
    return _fitted(settings, sizes.sides, sizes.how, pixel_size)


def _fitted(
    settings: CropSettings,
    sides: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    how: str,
    pixel_size: tuple[float, ...] | None,
) -> CropChoice:
    """Crops around cells with these longer sides."""
    side = float(np.quantile(sides, _MOST_CELLS))
    wanted = int(np.ceil(_MARGIN * side / _MULTIPLE) * _MULTIPLE)
    widths = f"most cells are up to {side:.0f} pixels wide" if len(sides) > 1 else ""
    widths = widths or f"cells are about {side:.0f} pixels wide"
    why = f"{_MARGIN:g} times the cells: {widths} ({how})"
    if wanted <= _LARGEST or (wanted <= _LARGEST_UNSCALED and pixel_size is None):
        return CropChoice((max(_SMALLEST, wanted),) * settings.n_axes, pixel_size, why)
    if pixel_size is not None and settings.pixel_size_um is None:
        coarser = wanted / _LARGEST
        why += f"; these were made {coarser:.1f} times smaller"
        sizes = tuple(size * coarser for size in pixel_size)
        return CropChoice((_LARGEST,) * settings.n_axes, sizes, why)
    raise InputError(
        f"The cells are up to {side:.0f} pixels wide ({how}), which is more than a network needs "
        "to see. Make the images smaller, give a coarser pixel_size_um in a recipe, or say how "
        f"large the crops are: --crop-size {wanted}."
    )


def _common_size(
    table: CellTable, settings: CropSettings, opened: Callable[[str], Stack]
) -> tuple[int, ...]:
    """Size of ready-made crops, which must be the same in all images."""
    shapes = [
        tuple(opened(name).data.shape[-settings.n_axes :])
        for name in sorted(set(table.rows["image"]))
    ]
    if len(set(shapes)) == 1:
        return shapes[0]
    largest = max(int(np.quantile([max(s[-2:]) for s in shapes], _MOST_CELLS)), 1)
    raise InputError(
        f"The images have different sizes, from {_times(min(shapes))} to {_times(max(shapes))} "
        f"pixels. Say how large the crops are: --crop-size {largest} shows 9 of 10 images whole; "
        "smaller ones are mirrored at their edges."
    )


def _pixel_size(table: CellTable, settings: CropSettings, first: Stack) -> tuple[float, ...] | None:
    """Pixel size of the first image; None if unknown or if the crops are ready-made."""
    sizes = [size for size in first.pixel_size_um[-settings.n_axes :] if size is not None]
    known = len(sizes) == settings.n_axes and table.place not in READY_MADE
    return tuple(sizes) if known else None


def _check_scales(table: CellTable, opened: Callable[[str], Stack]) -> None:
    """Refuse images of different scales where that of the first image is unknown."""
    stacks = [opened(name) for name in sorted(set(table.rows["image"]))]
    known = [stack for stack in stacks if stack.pixel_size_um.x is not None]
    sizes = [stack.pixel_size_um.x or 0 for stack in known]
    if sizes and max(sizes) > 1.01 * min(sizes):
        raise InputError(
            f"The pixel size of {stacks[0].name} is unknown; others differ, from {min(sizes):g} um "
            f"({known[sizes.index(min(sizes))].name}) to {max(sizes):g} um. Write the pixel size "
            "into that file, or leave its rows out (--only)."
        )


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def described(choice: CropChoice) -> str:
    """The crops in words, such as ``64 x 64 pixels (32 x 32 um): as it was asked for``."""
    text = f"{_times(choice.size)} pixels"
    if choice.pixel_size_um is not None:
        sides = zip(choice.size, choice.pixel_size_um, strict=True)
        text += f" ({' x '.join(f'{n * size:.3g}' for n, size in sides)} um)"
    return f"{text}, {choice.why}"
