"""Small cell tables for tests of training and evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.tables.cell_table import CellTable, read_cell_table
from cellcam_training.tables.crops import CropSettings, read_crops

from cellcam import ModelSpec
from cellcam.models.normalisation import Normalisation
from cellcam.stacks.stack import PixelSize
from cellcam.stacks.writing import write_ome_tiff

# A recipe that learns the cells of `dna_content_table` within a second.
QUICK = Recipe(epochs=8, batch_size=16, channels=("light", "DNA"), seed=3)


def dna_content_table(folder: Path) -> CellTable:
    """80 ready-made crops in two classes that differ only in the total intensity of channel 1."""
    random = np.random.default_rng(0)
    bright = np.arange(80) % 2
    crops = random.poisson(100, (80, 2, 12, 12))
    crops[:, 1, 3:9, 3:9] += random.poisson(40 * (1 + bright))[:, None, None]
    tifffile.imwrite(folder / "crops.tif", crops.astype(np.uint16), metadata={"axes": "QCYX"})
    return read_cell_table(
        write_table(folder, file="crops.tif", index=range(80), cls=np.array(["G1", "G2"])[bright])
    )


def write_images(folder: Path) -> None:
    """Write a field of 2 channels and 3 planes, its label image (labels 5, 2) and 6 crops."""
    random = np.random.default_rng(0)
    field = random.integers(0, 999, (1, 2, 3, 50, 60)).astype(np.uint16)
    write_ome_tiff(folder / "field.ome.tif", field, ("DNA", "actin"), PixelSize(1, 0.5, 0.5))
    labels = np.zeros((1, 1, 1, 50, 60), np.uint16)
    labels[..., 10:13, 20:23] = 5
    labels[..., 30:33, 40:43] = 2
    write_ome_tiff(folder / "labels.ome.tif", labels, ("cells",))
    crops = random.integers(0, 999, (6, 2, 12, 12)).astype(np.uint16)
    tifffile.imwrite(folder / "crops.tif", crops, metadata={"axes": "QCYX"})


def write_table(folder: Path, **columns: object) -> Path:
    """Write ``cells.csv`` with these columns."""
    pd.DataFrame(columns).to_csv(folder / "cells.csv", index=False)
    return folder / "cells.csv"


def crops_of(folder: Path, settings: CropSettings, **columns: list[object]) -> np.ndarray:
    """Crops of a table with these columns; its classes are a, b, a, b, ..."""
    n = len(next(iter(columns.values())))
    classes = (["a", "b"] * n)[:n]
    path = write_table(folder, cls=classes, **columns)
    return read_crops(read_cell_table(path, to_train=False), settings).pixels


def model_spec(
    channels: tuple[str, ...], crop_size: tuple[int, int], pixel_size_um: float | None = None
) -> ModelSpec:
    """Description of a model with the classes a and b."""
    return ModelSpec(
        network="small_cnn",
        channels=channels,
        classes=("a", "b"),
        crop_size=crop_size,
        pixel_size_um=None if pixel_size_um is None else (pixel_size_um, pixel_size_um),
        normalisation=Normalisation(offset=(0,) * len(channels), scale=(1,) * len(channels)),
        target_layer="features",
    )
