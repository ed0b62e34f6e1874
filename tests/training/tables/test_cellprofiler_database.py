"""Databases as CellProfiler's ExportToDatabase and CellProfiler Analyst write them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from cellcam_training.tables.cell_table import CellTable, read_cell_table

from cellcam import InputError
from cellcam.stacks.stack import PixelSize
from cellcam.stacks.writing import write_ome_tiff

OBJECTS = """
CREATE TABLE MyExpt_Per_Object (ImageNumber INTEGER, ObjectNumber INTEGER,
    Nuclei_Number_Object_Number INTEGER, Nuclei_Location_Center_X FLOAT,
    Nuclei_Location_Center_Y FLOAT, Cells_Location_Center_X FLOAT, Cells_Location_Center_Y FLOAT,
    Nuclei_AreaShape_Area FLOAT);
INSERT INTO MyExpt_Per_Object VALUES (1, 1, 1, 10.5, 20.0, 11, 21, 99), (1, 2, 2, 30, 25, 0, 0, 98),
    (2, 1, 1, 12, 8.25, 0, 0, 97), (2, 2, 2, NULL, NULL, 0, 0, 0);
"""
IMAGES = """
CREATE TABLE MyExpt_Per_Image (ImageNumber INTEGER, Image_FileName_DNA TEXT,
    Image_PathName_DNA TEXT, Image_Metadata_Well TEXT, Image_Count_Nuclei FLOAT);
INSERT INTO MyExpt_Per_Image VALUES (1, 'a.tif', '/data', 'A01', 2), (2, 'b.tif', NULL, 'A02', 2);
"""
CLASSES = """
CREATE TABLE phases (ImageNumber INTEGER, ObjectNumber INTEGER, "class" TEXT, class_number INT);
INSERT INTO phases VALUES (1, 1, 'G1', 1), (2, 1, 'M', 2), (1, 2, 'M', 2);
"""


def read(folder: Path, *statements: str) -> CellTable:
    for name in ("a.tif", "b.tif"):
        pixels = np.zeros((1, 1, 1, 40, 60), np.uint16)
        write_ome_tiff(folder / name, pixels, ["DNA"], PixelSize(None, 0.5, 0.5))
    with closing(sqlite3.connect(folder / "MyExpt.db")) as database:
        database.executescript("".join(statements))
    return read_cell_table(folder / "MyExpt.db", group_column="Metadata_Well", to_train=False)


def test_places_files_wells_and_classes(tmp_path: Path) -> None:
    table = read(tmp_path, OBJECTS, IMAGES, CLASSES)
    rows = table.rows
    assert [Path(image).name for image in rows["image"]] == ["a.tif", "a.tif", "b.tif"]
    assert rows[["x", "y"]].to_numpy(float).tolist() == [[10.5, 20], [30, 25], [12, 8.25]]
    assert rows["cls"].tolist() == ["G1", "M", "M"]
    assert rows["group"].tolist() == ["A01", "A01", "A02"]
    assert any("places of Nuclei" in note for note in table.notes)
    # The object without a place has no class either.
    assert any("1 cells of MyExpt.db have no class" in note for note in table.notes)


def test_a_table_of_one_kind_of_objects(tmp_path: Path) -> None:
    nuclei = OBJECTS.replace("Per_Object", "Per_Nuclei").replace("ObjectNumber INTEGER,", "", 1)
    nuclei = nuclei.replace("(1, 1, 1,", "(1, 1,").replace("(1, 2, 2,", "(1, 2,")
    nuclei = nuclei.replace("(2, 1, 1,", "(2, 1,").replace("(2, 2, 2,", "(2, 2,")
    assert read(tmp_path, nuclei, IMAGES, CLASSES).rows["cls"].tolist() == ["G1", "M", "M"]


def test_images_of_several_files_ask_for_one(tmp_path: Path) -> None:
    images = IMAGES.replace("Image_PathName_DNA", "Image_FileName_actin")
    with pytest.raises(InputError, match="names its images by numbers.*--image"):
        read(tmp_path, OBJECTS, images, CLASSES)


@pytest.mark.fault("an SQLite database without objects", "refused; its tables are listed")
def test_another_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no table of CellProfiler.*its tables: MyExpt_Per_Image"):
        read(tmp_path, IMAGES)


@pytest.mark.fault("an SQLite view in place of CellProfiler's table", "its code does not run")
def test_code_in_the_database_does_not_run(tmp_path: Path) -> None:
    view = """CREATE VIEW MyExpt_Per_Object AS SELECT 1 AS ImageNumber, 1 AS ObjectNumber,
        load_extension('evil') AS Nuclei_Location_Center_X, 2 AS Nuclei_Location_Center_Y;"""
    with pytest.raises(InputError, match="no table of CellProfiler"):
        read(tmp_path, view, IMAGES)


@pytest.mark.fault("an SQLite database that is cut off", "refused, and it is named")
@pytest.mark.parametrize("length", [16, 100, 5000])
def test_a_database_that_is_cut_off_is_refused(tmp_path: Path, length: int) -> None:
    read(tmp_path, OBJECTS, IMAGES, CLASSES)
    path = tmp_path / "MyExpt.db"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=r"MyExpt\.db"):
        read_cell_table(path, to_train=False)
