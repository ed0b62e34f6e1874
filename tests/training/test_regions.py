from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.tables.cell_regions import cell_regions
from cellcam_training.tables.cell_table import CellTable, read_cell_table
from cellcam_training.tables.crops import read_crops

from cellcam import InputError, ModelSpec
from cellcam.models.normalisation import Normalisation
from cellcam.stacks.stack import PixelSize
from cellcam.stacks.writing import write_ome_tiff


def spec(size: int, pixel_size_um: float | None = None) -> ModelSpec:
    return ModelSpec(
        network="small_cnn",
        channels=("DNA",),
        classes=("a", "b"),
        crop_size=(size, size),
        pixel_size_um=None if pixel_size_um is None else (pixel_size_um, pixel_size_um),
        normalisation=Normalisation(offset=(0,), scale=(1,)),
        target_layer="features",
    )


def written(folder: Path, rows: pd.DataFrame) -> CellTable:
    rows.to_csv(folder / "cells.csv", index=False)
    return read_cell_table(folder / "cells.csv", to_train=False)


@pytest.fixture
def labelled(tmp_path: Path) -> CellTable:
    """Three bright squares whose labels are the same squares; the last touches the edge."""
    labels = np.zeros((60, 80), np.uint16)
    for number, (y, x) in {7: (10, 10), 2: (30, 40), 5: (52, 70)}.items():
        labels[y : y + 8, x : x + 10] = number
    pixels = np.where(labels, 900, 100).astype(np.uint16)
    for name, image in (("labels", labels), ("image", pixels)):
        image = image[None, None, None]
        write_ome_tiff(tmp_path / f"{name}.ome.tif", image, ["DNA"], PixelSize(None, 0.5, 0.5))
    rows = {"label": [5, 7, 2], "cls": ["a", "b", "a"]}
    rows |= {"image": "image.ome.tif", "labels": "labels.ome.tif"}
    return written(tmp_path, pd.DataFrame(rows))


@pytest.mark.parametrize("pixel_size", [None, 1.0])
def test_regions_lie_where_the_cells_are_in_their_crops(
    labelled: CellTable, pixel_size: float | None
) -> None:
    size = (pixel_size, pixel_size) if pixel_size else None
    crops = read_crops(labelled, Recipe(crop_size=(24, 24), pixel_size_um=size)).pixels[:, 0]
    regions = cell_regions(labelled, spec(24, pixel_size))
    assert regions is not None
    wrong = ((crops > 500) != regions)[1:].mean()
    assert wrong == 0 if pixel_size is None else wrong < 0.02


def test_masks_are_taken_by_the_name_of_the_image_and_the_index(tmp_path: Path) -> None:
    masks = np.random.default_rng(0).integers(0, 2, (4, 16, 16)).astype(np.uint8)
    (tmp_path / "masks").mkdir()
    for folder in (tmp_path, tmp_path / "masks"):
        tifffile.imwrite(folder / "crops.tif", masks, photometric="minisblack")
    table = written(
        tmp_path, pd.DataFrame({"image": "crops.tif", "index": [2, 0], "cls": ["a", "b"]})
    )
    found = cell_regions(table, spec(16), tmp_path / "masks")
    np.testing.assert_array_equal(found, masks[[2, 0]] > 0)
    assert cell_regions(table, spec(16)) is None
    with pytest.raises(InputError, match="masks of"):
        cell_regions(table, spec(24), tmp_path / "masks")


def test_masks_by_name_are_for_crops(labelled: CellTable, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tables of crops"):
        cell_regions(labelled, spec(24), tmp_path)
