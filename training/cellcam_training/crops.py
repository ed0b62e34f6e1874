"""All crops of a cell table, read once, at one size and one scale."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellcam.cells.cropping import CellPositions, crop_cells, resized, shape_at_pixel_size
from cellcam.errors import InputError
from cellcam.stacks.opening import open_crops, open_stack
from cellcam.stacks.stack import Stack
from cellcam_training.cell_table import CellTable
from cellcam_training.recipe import Recipe

if TYPE_CHECKING:
    import pandas as pd

_DEFAULT_CROP = 64


@dataclass(frozen=True)
class CropSet:
    """Crops of all cells of a table, in its order.

    Attributes
    ----------
    pixels : (N, C, *crop_size) array of raw counts
    channels : C names
    pixel_size_um : of a crop, or None
    """

    pixels: NDArray[Any]
    channels: tuple[str, ...]
    pixel_size_um: tuple[float, ...] | None

    @property
    def crop_size(self) -> tuple[int, ...]:
        """Pixels along each spatial axis."""
        return self.pixels.shape[2:]

    def part(self, rows: NDArray[np.int64]) -> CropSet:
        """The crops of these cells only."""
        return replace(self, pixels=self.pixels[rows])


def read_crops(table: CellTable, recipe: Recipe) -> CropSet:
    """Read the crops of a cell table.

    Raises
    ------
    InputError
        If images disagree in their channels, or a crop lies outside its image.
    """
    parts, order = [], []
    channels: tuple[str, ...] | None = None
    pixel_size = recipe.pixel_size_um
    for image, rows in table.rows.groupby("image", sort=True):
        stack = _open(str(image), table.place, recipe)
        if channels is None:
            channels = stack.channels
            pixel_size = pixel_size or _pixel_size(stack, table.place, recipe)
        if stack.channels != channels:
            raise InputError(
                f"{image} has the channels {', '.join(stack.channels)}, the images before it "
                f"{', '.join(channels)}. Name them alike (--channels)."
            )
        parts.append(_crops_of(stack, rows, table.place, recipe, pixel_size))
        order.append(rows.index.to_numpy())
    pixels = np.concatenate(parts)[np.argsort(np.concatenate(order), kind="stable")]
    return CropSet(pixels, channels or (), pixel_size)


def _open(image: str, place: str, recipe: Recipe) -> Stack:
    if place == "index":
        return open_crops(image, recipe.channels)
    return open_stack(image, channels=recipe.channels)


def _pixel_size(stack: Stack, place: str, recipe: Recipe) -> tuple[float, ...] | None:
    n_axes = 3 if recipe.field == "volume" else 2
    sizes = [size for size in stack.pixel_size_um[-n_axes:] if size is not None]
    return tuple(sizes) if len(sizes) == n_axes and place != "index" else None


def _crops_of(
    stack: Stack,
    rows: pd.DataFrame,
    place: str,
    recipe: Recipe,
    pixel_size: tuple[float, ...] | None,
) -> NDArray[Any]:
    """Crops of the cells of one image, in the order of ``rows``."""
    if place == "index":
        return _indexed_crops(stack, rows["index"].to_numpy(), recipe)
    crops: list[NDArray[Any]] = [np.empty(0)] * len(rows)
    where = np.arange(len(rows))
    t = rows["t"].to_numpy(int) if "t" in rows else np.zeros(len(rows), int)
    flat = "z" in rows and recipe.field == "plane"
    z = rows["z"].to_numpy(int) if flat else np.zeros(len(rows), int)
    for time, plane in sorted(set(zip(t.tolist(), z.tolist(), strict=True))):
        chosen = where[(t == time) & (z == plane)]
        seen: Any = plane if flat else _seen(stack, recipe)
        field = stack.field(time, seen)
        shape = shape_at_pixel_size(stack, field.shape[1:], pixel_size)
        cells = _positions(rows.iloc[chosen], place, field.shape[1:], stack).at_scale(shape)
        size = recipe.crop_size or (_DEFAULT_CROP,) * len(shape)
        scaled = field if field.shape[1:] == shape else resized(field, shape)
        for row, crop in zip(chosen, crop_cells(scaled, cells, size), strict=True):
            crops[row] = crop
    return np.stack(crops)


def _seen(stack: Stack, recipe: Recipe) -> str | None:
    return None if stack.data.shape[2] == 1 or recipe.field == "plane" else recipe.field


def _indexed_crops(stack: Stack, index: NDArray[np.int64], recipe: Recipe) -> NDArray[Any]:
    if index.min() < 0 or index.max() >= stack.data.shape[0]:
        raise InputError(
            f"{stack.path} holds crops 0 to {stack.data.shape[0] - 1}; the table asks for "
            f"{index.min()} to {index.max()}."
        )
    pixels = np.asarray(stack.data)[index]
    pixels = pixels if recipe.field == "volume" else pixels.max(axis=2)
    size = recipe.crop_size or pixels.shape[2:]
    if size == pixels.shape[2:]:
        return pixels
    middle = CellPositions(
        np.ones(1, np.int32), np.array([pixels.shape[2:]]) / 2 - 0.5, pixels.shape[2:]
    )
    return np.concatenate([crop_cells(one, middle, size) for one in pixels])


def _positions(
    rows: pd.DataFrame, place: str, shape: tuple[int, ...], stack: Stack
) -> CellPositions:
    """Centres of the cells in pixels of their field."""
    if place == "label":
        return _labelled_positions(rows, shape)
    if place == "box":
        # Boxes are half-open: a box from 0 to 4 has its centre at pixel 1.5.
        x = (rows["xmin"] + rows["xmax"]).to_numpy(float) / 2 - 0.5
        y = (rows["ymin"] + rows["ymax"]).to_numpy(float) / 2 - 0.5
    else:
        x, y = rows["x"].to_numpy(float), rows["y"].to_numpy(float)
    centres = [y, x]
    if len(shape) == 3:
        middle = np.full(len(rows), (shape[0] - 1) / 2)
        centres = [rows["z"].to_numpy(float) if "z" in rows else middle, y, x]
    centre = np.stack(centres, 1)
    outside = ((centre < -0.5) | (centre > np.array(shape) - 0.5)).any(axis=1)
    if outside.any() or not np.isfinite(centre).all():
        row = int(np.flatnonzero(outside | ~np.isfinite(centre).all(axis=1))[0])
        raise InputError(
            f"A cell of {stack.path} lies outside the image of {shape} pixels: {centre[row]}."
        )
    return CellPositions(np.arange(1, len(rows) + 1, dtype=np.int32), centre, shape)


def _labelled_positions(rows: pd.DataFrame, shape: tuple[int, ...]) -> CellPositions:
    files = rows["labels"].unique()
    if len(files) != 1:
        raise InputError(f"One image has several label images: {', '.join(files)}.")
    labels = open_stack(files[0])
    image = labels.field(0, "volume" if len(shape) == 3 else None)[0].astype(np.int32)
    cells = CellPositions.of(image)
    place = {number: i for i, number in enumerate(cells.numbers.tolist())}
    missing = [n for n in rows["label"].tolist() if n not in place]
    if missing:
        raise InputError(f"{files[0]} has no cell with the label {missing[0]}.")
    chosen = [place[n] for n in rows["label"].tolist()]
    return CellPositions(cells.numbers[chosen], cells.centres[chosen], shape)
