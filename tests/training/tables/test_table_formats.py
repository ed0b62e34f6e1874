from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from cellcam_training.tables.cell_table import read_cell_table
from cellcam_training.tables.crops import CropSettings, read_crops
from napari.layers import Points
from napari_builtins.io import napari_write_points
from PIL import Image
from support.cell_tables import write_table

from cellcam import InputError
from cellcam.errors import UsageError


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    drawn = {}
    for name in ("a/1.png", "a/2.png", "b/1.jpg.png", "b/2.png"):
        drawn[name] = random.integers(0, 255, (10, 12, 3)).astype(np.uint8)
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(drawn[name]).save(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("not a cell")
    table = read_cell_table(tmp_path)
    assert table.rows["cls"].tolist() == ["a", "a", "b", "b"]
    crops = read_crops(table, CropSettings())
    assert crops.channels == ("red", "green", "blue")
    np.testing.assert_array_equal(
        crops.pixels, [np.moveaxis(pixels, 2, 0) for pixels in drawn.values()]
    )


def test_points_saved_from_napari(folder: Path) -> None:
    layer = Points(
        [[2, 11, 21], [0, 31, 41], [1, 12, 14], [1, 30, 9]],
        features={"cls": ["a", "b", "a", "b"]},
    )
    data, metadata, _ = layer.as_layer_data_tuple()
    saved = napari_write_points(str(folder / "points.csv"), data, metadata)
    table = read_cell_table(Path(saved), image=folder / "field.ome.tif")
    assert table.place == "centre"
    assert table.rows[["z", "y", "x"]].to_numpy(float).tolist() == layer.data.tolist()
    field = tifffile.imread(folder / "field.ome.tif").reshape(2, 3, 50, 60)
    crops = read_crops(table, CropSettings(crop_size=(5, 7)))
    np.testing.assert_array_equal(crops.pixels[0], field[:, 2, 9:14, 18:25])


def test_rows_are_filtered_by_patterns_and_numbered_as_in_the_file(folder: Path) -> None:
    columns = {
        "image": ["field.ome.tif"] * 5 + ["gone.tif"],
        "flag": [None, "cut", None, None, None, None],
        "cls": ["a", "b", "a", "b", "b", "b"],
        "x": [21] * 6,
        "y": [11, 15, 19, 500, 23, 27],
    }
    table = read_cell_table(write_table(folder, **columns), only=["image=*.ome.tif", "flag!=c?t"])
    assert table.rows["row"].tolist() == [0, 2, 3, 4]
    with pytest.raises(InputError, match="row 5: centre 21, 500 is outside"):
        read_crops(table, CropSettings(crop_size=(5, 7), field="max"))
    with pytest.raises(UsageError, match="COLUMN=PATTERN"):
        read_cell_table(folder / "cells.csv", only=["colour=red"])


@pytest.mark.fault(
    "Images of a table that do not state their axes", "--axes of train and evaluate says them"
)
def test_axes_that_files_do_not_state_are_given(tmp_path: Path) -> None:
    movie = np.random.default_rng(0).integers(0, 999, (5, 30, 40)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "movie.tif", movie, photometric="minisblack", metadata=None)
    path = write_table(tmp_path, image="movie.tif", t=[0, 3], x=[20, 9], y=[10, 9], cls=["a", "b"])
    with pytest.raises(InputError, match="--axes"):
        read_crops(read_cell_table(path, to_train=False), CropSettings((5, 5)))
    table = read_cell_table(path, to_train=False, axes="TYX")
    crops = read_crops(table, CropSettings((5, 5))).pixels
    np.testing.assert_array_equal(crops[1, 0], movie[3, 7:12, 7:12])
