"""Rows that name labels: read at their time point and plane, by the rules of all label images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from cellcam_training.tables.cell_regions import cell_regions
from cellcam_training.tables.cell_table import read_cell_table
from cellcam_training.tables.crops import CropSettings, read_crops
from support.cell_tables import model_spec, write_table
from support.mosaics import border, field_of_cells

from cellcam import InputError
from cellcam.stacks.stack import PixelSize
from cellcam.stacks.writing import write_ome_tiff

SETTINGS = CropSettings(crop_size=(9, 9))
# Corner of the cell of each time point and plane; labels are 5 x 5 pixels, and number 3 of all.
CORNERS = {(0, 0): (4, 4), (0, 1): (4, 30), (1, 0): (24, 4), (1, 1): (24, 30)}


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    """Two time points of three planes; pixels are 900 in the cell; labels without axes, no size."""
    labels = np.zeros((2, 3, 40, 50), np.uint16)
    for (t, z), (y, x) in CORNERS.items():
        labels[t, z, y : y + 5, x : x + 5] = 3
    noise = np.random.default_rng(0).poisson(100, labels.shape)
    pixels = np.where(labels, 900, noise).astype(np.uint16)[:, None]
    write_ome_tiff(tmp_path / "movie.ome.tif", pixels, ["DNA"], PixelSize(1, 0.5, 0.5), 60.0)
    tifffile.imwrite(tmp_path / "labels.tif", labels[:, 0])
    tifffile.imwrite(tmp_path / "planes.tif", labels, metadata={"axes": "TZYX"}, ome=True)
    return tmp_path


def with_a_second_piece(labels: np.ndarray) -> np.ndarray:
    changed = labels.copy()
    changed[:, 34:38, 44:48], changed[:, 15:18, 20:24] = 3, 8
    return changed


def read(path: Path) -> np.ndarray:
    return read_crops(read_cell_table(path, to_train=False), SETTINGS).pixels[:, 0]


def table_of(folder: Path, **columns: object) -> Path:
    n = len(columns["label"])  # type: ignore[arg-type]
    shared = {"image": ["movie.ome.tif"] * n, "cls": (["a", "b"] * n)[:n]}
    return write_table(folder, **(shared | columns))


@pytest.mark.fault("labels with time or planes", "read at the t and z of each row")
def test_labels_are_read_at_the_time_and_plane_of_the_row(movie: Path) -> None:
    path = table_of(movie, labels=["planes.tif"] * 4, label=[3] * 4, t=[0, 0, 1, 1], z=[0, 1, 0, 1])
    table = read_cell_table(path, to_train=False)
    crops = read_crops(table, SETTINGS).pixels[:, 0]
    expected = np.zeros((9, 9), bool)
    expected[2:7, 2:7] = True
    assert ((crops == 900) == expected).all()
    regions = cell_regions(table, model_spec(("DNA",), (9, 9), 0.5))
    np.testing.assert_array_equal(regions, np.broadcast_to(expected, (4, 9, 9)))


@pytest.mark.fault("labels of a movie as Cellpose writes them", "read at the t of each row")
def test_labels_without_axes_have_those_of_the_image(movie: Path) -> None:
    path = table_of(movie, labels=["labels.tif"] * 2, label=[3, 3], t=[0, 1], z=[0, 0])
    crops = read(path)
    assert (crops[:, 2:7, 2:7] == 900).all()


@pytest.mark.fault("bad label images in a training", "refused as everywhere, with the rows")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda labels: labels[:, :, :-1], r"40 x 49.* 40 x 50"),
        (lambda labels: labels[:, :20], r"20 x 50.* 40 x 50"),
        (lambda labels: labels * np.float32(0.5), "fractions, such as 1.5"),
        (lambda labels: labels + (labels > 0), r"row 2: label 3 is not in .*labels.tif there"),
        (with_a_second_piece, "row 2: .* several distant pieces"),
        (lambda labels: np.maximum(labels, labels[:, ::-1]) > 0, "yes/no mask"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(movie: Path, change: object, message: str) -> None:
    labels = tifffile.imread(movie / "labels.tif")
    tifffile.imwrite(movie / "labels.tif", change(labels))  # type: ignore[operator]
    path = table_of(movie, labels=["labels.tif"] * 2, label=[3, 3], t=[0, 1], z=[0, 0])
    with pytest.raises(InputError, match=message):
        read(path)


@pytest.mark.fault("labels stored as floating point, in a training", "whole numbers are accepted")
def test_whole_numbers_as_floating_point_are_accepted(movie: Path) -> None:
    labels = tifffile.imread(movie / "labels.tif").astype(np.float32)
    tifffile.imwrite(movie / "labels.tif", labels)
    path = table_of(movie, labels=["labels.tif"] * 2, label=[3, 3], t=[0, 1], z=[0, 0])
    assert (read(path)[:, 2:7, 2:7] == 900).all()


@pytest.mark.fault("cells of a training in an area without data", "refused, with the rows")
@pytest.mark.parametrize("value", [0.0, np.nan])
def test_cells_without_data_are_refused_and_crops_at_fill_are_filled(
    tmp_path: Path, value: float
) -> None:
    pixels = border(field_of_cells().astype(np.float32), value)[None, :, None]
    write_ome_tiff(tmp_path / "movie.ome.tif", pixels, ["DNA", "actin"], PixelSize())
    columns = {"image": ["movie.ome.tif"] * 2, "cls": ["a", "b"], "x": [100, 100]}
    inside = write_table(tmp_path, **columns, y=[72, 150])
    crops = read_crops(read_cell_table(inside, to_train=False), SETTINGS).pixels
    assert np.isfinite(crops).all()
    assert crops.min() > 50
    outside = write_table(tmp_path, **columns, y=[150, 30])
    with pytest.raises(InputError, match=r"has no data .* of 1 rows of the table: row 3"):
        read_crops(read_cell_table(outside, to_train=False), SETTINGS)


@pytest.mark.fault("NaN in ready-made crops", "filled, or refused with their index")
def test_ready_made_crops_are_finite(tmp_path: Path) -> None:
    crops = np.random.default_rng(0).normal(100, 5, (3, 12, 12)).astype(np.float32)
    crops[0, :4] = np.nan
    tifffile.imwrite(tmp_path / "crops.tif", crops, photometric="minisblack")
    columns = {"file": ["crops.tif"] * 3, "index": [0, 1, 2], "cls": ["a", "b", "a"]}
    table = read_cell_table(write_table(tmp_path, **columns), to_train=False)
    assert np.isfinite(read_crops(table, CropSettings()).pixels).all()
    crops[1] = np.inf
    tifffile.imwrite(tmp_path / "crops.tif", crops, photometric="minisblack")
    with pytest.raises(InputError, match="crops without data, of index 1"):
        read_crops(table, CropSettings())
