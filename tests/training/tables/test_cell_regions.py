from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from cellcam_training.tables.cell_regions import cell_regions
from cellcam_training.tables.cell_table import CellTable, read_cell_table
from cellcam_training.tables.crops import CropSettings, read_crops
from support.cell_tables import model_spec, write_table

from cellcam import InputError
from cellcam.stacks.stack import PixelSize
from cellcam.stacks.writing import write_ome_tiff


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
    path = write_table(
        tmp_path,
        label=[5, 7, 2],
        cls=["a", "b", "a"],
        image="image.ome.tif",
        labels="labels.ome.tif",
    )
    return read_cell_table(path, to_train=False)


@pytest.mark.parametrize("pixel_size", [None, 1.0])
def test_regions_coincide_with_the_cells_in_the_crops(
    labelled: CellTable, pixel_size: float | None
) -> None:
    size = (pixel_size, pixel_size) if pixel_size else None
    crops = read_crops(labelled, CropSettings((24, 24), pixel_size_um=size)).pixels[:, 0]
    regions = cell_regions(labelled, model_spec(("DNA",), (24, 24), pixel_size))
    assert regions is not None
    wrong = ((crops > 500) != regions)[1:].mean()
    assert wrong == 0 if pixel_size is None else wrong < 0.02


def test_masks_are_found_by_image_name_and_index(tmp_path: Path) -> None:
    masks = np.random.default_rng(0).integers(0, 2, (4, 16, 16)).astype(np.uint8)
    (tmp_path / "masks").mkdir()
    for folder in (tmp_path, tmp_path / "masks"):
        tifffile.imwrite(folder / "crops.tif", masks, photometric="minisblack")
    path = write_table(tmp_path, image="crops.tif", index=[2, 0], cls=["a", "b"])
    table, spec = read_cell_table(path, to_train=False), model_spec(("DNA",), (16, 16))
    found = cell_regions(table, spec, tmp_path / "masks")
    np.testing.assert_array_equal(found, masks[[2, 0]] > 0)
    assert cell_regions(table, spec) is None
    with pytest.raises(InputError, match="masks of"):
        cell_regions(table, model_spec(("DNA",), (24, 24)), tmp_path / "masks")


def test_a_folder_of_masks_is_refused_for_tables_with_labels(
    labelled: CellTable, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="tables of crops"):
        cell_regions(labelled, model_spec(("DNA",), (24, 24)), tmp_path)
