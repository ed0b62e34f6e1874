"""Cells that stand in a table twice: once, or refused where the rows contradict."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from cellcam_training.tables.cell_table import CellTable, read_cell_table
from PIL import Image
from support.cell_tables import write_table

from cellcam import InputError


def read(folder: Path, **columns: object) -> CellTable:
    """Checked table with these columns."""
    return read_cell_table(write_table(folder, **columns), to_train=False)


@pytest.mark.fault(
    "One cell in several rows of a table, exactly or a pixel or two apart",
    "Used once, with a warning that names the rows",
)
@pytest.mark.parametrize(
    "places",
    [
        {"image": "field.ome.tif", "x": [20, 20, 21.5, 30], "y": [10, 10, 11, 10], "z": 0},
        {"image": "crops.tif", "index": [3, 3, 3, 5]},
        {"image": "field.ome.tif", "labels": "labels.ome.tif", "label": [5, 5, 5, 2]},
        {
            "image": "field.ome.tif", "xmin": [5, 5, 6, 5], "ymin": [5, 5, 4, 5],
            "xmax": [15, 15, 16, 25], "ymax": [15, 15, 17, 25],
        },
    ],
    ids=["centre", "index", "label", "box"],
)  # fmt: skip
def test_each_cell_is_used_once(folder: Path, places: dict[str, object]) -> None:
    table = read(folder, cls=["a", "a", "a", "b"], **places)
    assert table.rows["row"].tolist() == [0, 3]
    assert "2 rows repeat a cell (row 3 as row 2, row 4 as row 2)" in table.warnings[0]


def test_cells_of_other_planes_and_images_are_other_cells(folder: Path) -> None:
    shutil.copy(folder / "labels.ome.tif", folder / "other.ome.tif")
    images = ["field.ome.tif"] * 2 + ["other.ome.tif"]
    table = read(folder, cls=list("abb"), image=images, x=[20] * 3, y=[10] * 3, z=[0, 1, 0])
    assert len(table.rows) == 3


@pytest.mark.fault(
    "The same cell with two classes, or on both sides of the split",
    "Refused row by row, naming both rows",
)
def test_contradicting_rows_are_refused_with_both_rows(folder: Path) -> None:
    places = {"image": "field.ome.tif", "x": [20, 40, 21, 40], "y": [10, 10, 9, 10], "z": 0}
    with pytest.raises(InputError) as error:
        read(folder, cls=["a", "b", "b", "b"], split=["train", "val", "train", "train"], **places)
    lines = str(error.value).splitlines()[1:]
    assert lines == [
        "row 4: the same cell as in row 2, with the class b instead of a",
        "row 5: the same cell as in row 3, with the split train instead of val",
    ]


@pytest.mark.fault(
    "One image under two names or in the folders of two classes", "Known by its content: one image"
)
def test_copies_of_an_image_are_one_image(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("a/1.png", "a/2.png", "b/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pixels = random.integers(0, 255, (10, 12)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    shutil.copy(tmp_path / "a/2.png", tmp_path / "a/copy.png")
    assert len(read_cell_table(tmp_path, to_train=False).rows) == 3
    shutil.copy(tmp_path / "a/2.png", tmp_path / "b/copy.png")
    with pytest.raises(InputError, match="with the class b instead of a"):
        read_cell_table(tmp_path, to_train=False)


def test_chains_of_near_centres_are_one_cell_and_distant_ones_are_not(folder: Path) -> None:
    x = [10, 11.5, 13, 14.5, 20]
    table = read(folder, cls=list("aaaab"), image="field.ome.tif", x=x, y=[10] * 5, z=0)
    assert table.rows["x"].tolist() == [10, 20]


@pytest.mark.fault(
    "A split that is neither train nor val, such as test",
    "Refused row by row; --only leaves the rows out",
)
def test_rows_of_another_split_are_not_taken_for_training(folder: Path) -> None:
    path = write_table(
        folder, file="crops.tif", index=range(6), cls=list("ababab"),
        split=["train", "val", "train", "val", "test", "Train"],
    )  # fmt: skip
    with pytest.raises(InputError, match="row 6: split 'test' is neither train nor val"):
        read_cell_table(path)
    assert len(read_cell_table(path, only=["split!=test"]).rows) == 5
