"""All crops of a cell table, read once, at one size and one scale."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellcam.stacks.opening import open_crops, open_stack
from cellcam.stacks.stack import Stack
from cellcam.stacks.writing import whole_file, write_json
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.tables.cell_table import CellTable
from cellcam_training.tables.image_crops import Seen, crops_of_image
from cellcam_training.tables.table_checks import BOX, check_images

_DEFAULT_CROP = 64
# A crop around a box shows half as much again as most boxes, within these limits.
_ROUND_A_BOX, _BOX_CROPS, _MULTIPLE = 1.5, (32, 128), 8


@dataclass(frozen=True)
class CropSet:
    """Crops of all cells of a table, in its order.

    Attributes
    ----------
    pixels : (N, C, *crop_size) array of raw counts, perhaps a file mapped into memory
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


def read_crops(table: CellTable, recipe: Recipe, folder: Path | None = None) -> CropSet:
    """Read the crops of a cell table, or take them from where an earlier call put them.

    Parameters
    ----------
    folder : where the crops are kept, for the next call with the same table, images and
        recipe; they are then read as they are needed. Default: they are held in memory.

    Raises
    ------
    InputError
        With all complaints, row by row: images that cannot be opened or disagree in their
        channels, cells outside their image.
    """
    opened = cache(partial(_open, place=table.place, channels=recipe.channels))
    check_images(table.rows, table.place, table.source, opened)
    first = opened(min(table.rows["image"]))
    pixel_size = recipe.pixel_size_um or _pixel_size(table, recipe, first)
    seen = Seen(
        place=table.place,
        field=recipe.field,
        crop_size=recipe.crop_size or _crop_size(table, recipe, first),
        # Crops that were cut before are at the size that is said, whatever their file says.
        pixel_size_um=None if table.place in ("index", "whole") else pixel_size,
    )
    reading = _Reading(table.rows, seen, opened)
    pixels = reading.in_memory() if folder is None else reading.kept_in(folder)
    return CropSet(pixels, first.channels, pixel_size)


@dataclass(frozen=True)
class _Reading:
    """Cells, and what decides how their crops look."""

    rows: pd.DataFrame
    seen: Seen
    opened: Callable[[str], Stack]

    def in_memory(self) -> NDArray[Any]:
        pixels: NDArray[Any] = np.empty(*self._shape_and_dtype())
        self._fill(pixels)
        return pixels

    def kept_in(self, folder: Path) -> NDArray[Any]:
        """Crops in a file of the folder, which is made unless it is there."""
        file, key, made_for = folder / "crops.npy", self._key(), folder / "crops.json"
        if not (file.is_file() and _key_in(made_for) == key):
            made_for.unlink(missing_ok=True)
            shape, dtype = self._shape_and_dtype()
            with whole_file(file) as temporary:
                pixels = np.lib.format.open_memmap(temporary, "w+", dtype, shape)
                self._fill(pixels)
                pixels.flush()
                del pixels
            write_json(made_for, {"key": key})
        kept: NDArray[Any] = np.load(file, mmap_mode="r")
        return kept

    def _shape_and_dtype(self) -> tuple[tuple[int, ...], np.dtype[Any]]:
        stacks = [self.opened(image) for image in sorted(set(self.rows["image"]))]
        dtype = np.result_type(*(self.seen.dtype(stack) for stack in stacks))
        return (len(self.rows), len(stacks[0].channels), *self.seen.crop_size), dtype

    def _fill(self, pixels: NDArray[Any]) -> None:
        for image, rows in self.rows.groupby("image", sort=True):
            where = rows.index.to_numpy()
            for own, crops in crops_of_image(self.opened(str(image)), rows, self.seen):
                pixels[where[own]] = crops

    def _key(self) -> str:
        """Says which cells, images (by size and time) and choices the crops are made from."""
        content = hashlib.sha256(f"{self.seen} {self.rows.to_csv()}".encode())
        columns = [name for name in ("image", "labels") if name in self.rows]
        for name in sorted(set(self.rows[columns].to_numpy().ravel())):
            status = Path(name).stat()
            content.update(f"{name} {status.st_size} {status.st_mtime_ns}".encode())
        first = self.opened(min(self.rows["image"]))
        content.update(" ".join(first.channels).encode())
        return content.hexdigest()


def _key_in(path: Path) -> str | None:
    try:
        key: str = json.loads(path.read_text("utf-8"))["key"]
    except (OSError, ValueError, KeyError):
        return None
    return key


def _open(image: str, place: str, channels: tuple[str, ...] | None) -> Stack:
    return (open_crops if place == "index" else open_stack)(image, channels=channels)


def _crop_size(table: CellTable, recipe: Recipe, first: Stack) -> tuple[int, ...]:
    """Pixels along each axis where the recipe does not say: enough to see a cell whole."""
    n_axes = 3 if recipe.field == "volume" else 2
    if table.place in ("index", "whole"):
        return tuple(first.data.shape[-n_axes:])
    if table.place != "box" or n_axes == 3:
        return (_DEFAULT_CROP,) * n_axes
    corners = table.rows[BOX].to_numpy(float)
    longest = (corners[:, 2:] - corners[:, :2]).max(axis=1)
    wanted = np.ceil(_ROUND_A_BOX * np.quantile(longest, 0.9) / _MULTIPLE) * _MULTIPLE
    return (int(np.clip(wanted, *_BOX_CROPS)),) * 2


def _pixel_size(table: CellTable, recipe: Recipe, first: Stack) -> tuple[float, ...] | None:
    n_axes = 3 if recipe.field == "volume" else 2
    sizes = [size for size in first.pixel_size_um[-n_axes:] if size is not None]
    known = len(sizes) == n_axes and table.place not in ("index", "whole")
    return tuple(sizes) if known else None
