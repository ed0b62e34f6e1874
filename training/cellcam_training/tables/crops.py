"""Crops of all cells of a table, at one size and one pixel size."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellcam.errors import InputError
from cellcam.stacks.opening import open_crops, open_stack
from cellcam.stacks.stack import Stack
from cellcam.stacks.writing import whole_file, write_json
from cellcam_training.tables.cell_table import CellTable
from cellcam_training.tables.crop_size import CropChoice, chosen_crops
from cellcam_training.tables.image_crops import CropGeometry, FieldName, Pixels, crops_of_image
from cellcam_training.tables.table_checks import READY_MADE, check_images

if TYPE_CHECKING:
    from cellcam.models.spec import Finding, ModelSpec

# Crops leave so much of the disk free.
_LEFT_FREE = 2**28


@dataclass(frozen=True)
class CropSettings:
    """How crops are cut; None leaves the choice to the table and its images.

    Attributes
    ----------
    crop_size : pixels, (y, x) or (z, y, x); default: see `chosen_crops`
    channels : names of the images' channels; default: the names in the files
    pixel_size_um : of a crop, (y, x) or (z, y, x); default: that of the first image
    field : how a stack with several planes is reduced
    """

    crop_size: tuple[int, ...] | None = None
    channels: tuple[str, ...] | None = None
    pixel_size_um: tuple[float, ...] | None = None
    field: FieldName = "plane"

    @property
    def n_axes(self) -> int:
        """Number of spatial axes of a crop."""
        return 3 if self.field == "volume" else 2


class FindingChoice(NamedTuple):
    """How the cells of new images are found; and why so, or why it is not known, as a clause."""

    finding: Finding | None
    why: str


_NOT_MEASURED = FindingChoice(None, "it was not measured")


@dataclass(frozen=True)
class CropSet:
    """Crops of all cells of a table, in its order.

    Attributes
    ----------
    pixels : (N, C, *crop_size) array of raw counts, in memory or memory-mapped
    channels : C names
    pixel_size_um : of a crop, or None
    why_size : reason for the crop size, as part of a sentence
    finding : how a model of these crops will find the cells of new images
    warnings : what must be known of the images, see `check_images`
    """

    pixels: Pixels
    channels: tuple[str, ...]
    pixel_size_um: tuple[float, ...] | None
    why_size: str = "as it was asked for"
    finding: FindingChoice = _NOT_MEASURED
    warnings: tuple[str, ...] = ()

    @property
    def crop_size(self) -> tuple[int, ...]:
        """Pixels along each spatial axis."""
        return self.pixels.shape[2:]

    @property
    def choice(self) -> CropChoice:
        """Size of the crops, and the reason for it."""
        return CropChoice(self.crop_size, self.pixel_size_um, self.why_size)

    def fingerprints(self) -> list[str]:
        """A hash of the pixels of each crop; other types of the same numbers give the same."""
        return [
            hashlib.blake2b(np.ascontiguousarray(crop, np.float32).data, digest_size=8).hexdigest()
            for crop in self.pixels
        ]

    def part(self, rows: NDArray[np.int64]) -> CropSet:
        """Crops of the cells with these row numbers."""
        return replace(self, pixels=self.pixels[rows])


def read_crops(table: CellTable, settings: CropSettings, folder: Path | None = None) -> CropSet:
    """Read the crops of a cell table, or reuse those that an earlier call stored.

    Parameters
    ----------
    folder : where the crops are stored, for later calls with the same table, images and
        settings; they are then memory-mapped. Default: they are held in memory.

    Raises
    ------
    InputError
        With all problems, row by row: images that cannot be opened or differ in their channels,
        cells outside their image.
    """
    opened = image_opener(table, settings)
    warnings = check_images(table.rows, table.place, table.source, opened, settings.field)
    choice = chosen_crops(table, settings, opened)
    geometry = CropGeometry(
        place=table.place,
        field=settings.field,
        crop_size=choice.size,
        # Ready-made crops are not resampled: the pixel size given overrules that of their file.
        pixel_size_um=None if table.place in READY_MADE else choice.pixel_size_um,
    )
    source = _CropSource(table.rows, geometry, opened)
    pixels = source.in_memory() if folder is None else source.stored_in(folder)
    channels = opened(min(table.rows["image"])).channels
    return CropSet(pixels, channels, choice.pixel_size_um, choice.why, warnings=warnings)


def settings_for_model(
    table: CellTable, spec: ModelSpec, channels: tuple[str, ...] | None = None
) -> CropSettings:
    """How the crops of a table are cut as a model expects them."""
    return CropSettings(
        crop_size=spec.crop_size,
        channels=channels,
        pixel_size_um=spec.pixel_size_um if table.place != "index" else None,
        field=spec.field,
    )


def crops_for_model(
    table: CellTable, spec: ModelSpec, channels: tuple[str, ...] | None = None
) -> CropSet:
    """Crops of a table with the size, pixel size and channel order that a model expects.

    Parameters
    ----------
    channels : names of the images' channels, overruling those in the files

    Raises
    ------
    InputError
        If the images lack a channel of the model; and see `read_crops`.
    """
    crops = read_crops(table, settings_for_model(table, spec, channels))
    if len(spec.channels) == len(crops.channels) == 1:
        return crops
    missing = [name for name in spec.channels if name not in crops.channels]
    if missing:
        raise InputError(
            f"The model wants the channels {', '.join(spec.channels)}; the images have "
            f"{', '.join(crops.channels)}. Name them in the files' order (--channels A,B,...)."
        )
    order = [crops.channels.index(name) for name in spec.channels]
    return replace(crops, pixels=crops.pixels[:, order], channels=spec.channels)


@dataclass(frozen=True)
class _CropSource:
    """Everything that the pixels of all crops depend on."""

    rows: pd.DataFrame
    geometry: CropGeometry
    opened: Callable[[str], Stack]

    def in_memory(self) -> Pixels:
        pixels: Pixels = np.empty(*self._shape_and_dtype())
        self._fill(pixels)
        return pixels

    def stored_in(self, folder: Path) -> Pixels:
        """Memory-mapped crops in a file of the folder, which is written unless it is current."""
        file, key, key_file = folder / "crops.npy", self._key(), folder / "crops.json"
        if not (file.is_file() and _stored_key(key_file) == key):
            key_file.unlink(missing_ok=True)
            shape, dtype = self._shape_and_dtype()
            _check_room(folder, shape, dtype)
            with whole_file(file) as temporary:
                pixels = np.lib.format.open_memmap(temporary, "w+", dtype, shape)
                self._fill(pixels)
                pixels.flush()
                del pixels
            write_json(key_file, {"key": key})
        stored: Pixels = np.load(file, mmap_mode="r")
        return stored

    def _shape_and_dtype(self) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
        stacks = [self.opened(image) for image in sorted(set(self.rows["image"]))]
        dtype = np.result_type(*(self.geometry.dtype(stack) for stack in stacks))
        return (len(self.rows), len(stacks[0].channels), *self.geometry.crop_size), dtype

    def _fill(self, pixels: Pixels) -> None:
        for image, rows in self.rows.groupby("image", sort=True):
            numbers = rows.index.to_numpy()
            for cells, crops in crops_of_image(self.opened(str(image)), rows, self.geometry):
                pixels[numbers[cells]] = crops

    def _key(self) -> str:
        """Hash of the cells, the images (by size and time of change) and the geometry."""
        content = hashlib.sha256(f"{self.geometry} {self.rows.to_csv()}".encode())
        columns = [name for name in ("image", "labels") if name in self.rows]
        for name in sorted(set(self.rows[columns].to_numpy().ravel())):
            status = Path(name).stat()
            content.update(f"{name} {status.st_size} {status.st_mtime_ns}".encode())
        first = self.opened(min(self.rows["image"]))
        content.update(" ".join(first.channels).encode())
        return content.hexdigest()


def _stored_key(path: Path) -> str | None:
    try:
        key: str = json.loads(path.read_text("utf-8"))["key"]
    except (OSError, ValueError, KeyError):
        return None
    return key


def image_opener(table: CellTable, settings: CropSettings) -> Callable[[str], Stack]:
    """Function that opens the images of a table, each once."""
    return cache(partial(_open, table=table, channels=settings.channels))


def _open(image: str, table: CellTable, channels: tuple[str, ...] | None) -> Stack:
    if table.place == "index":
        return open_crops(image, channels)
    return open_stack(image, axes=table.axes, channels=channels)


def _check_room(folder: Path, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
    """Refuse crops that the disk cannot hold, before anything is allocated."""
    folder.mkdir(parents=True, exist_ok=True)
    size, free = math.prod(shape) * dtype.itemsize, shutil.disk_usage(folder).free
    if size + _LEFT_FREE > free:
        raise InputError(
            f"The crops of {shape[0]} cells, {' x '.join(map(str, shape[2:]))} pixels in "
            f"{shape[1]} channels, take {size / 1e9:.1f} GB; {free / 1e9:.1f} GB are free in "
            f"{folder}. Choose a smaller --crop-size, fewer cells (--only), or another disk."
        )
