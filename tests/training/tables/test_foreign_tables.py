"""Cells that other programs list, as rows of a cell table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from cellcam_training.tables.cell_table import CellTable, read_cell_table

from cellcam import InputError
from cellcam.stacks.stack import PixelSize
from cellcam.stacks.writing import write_ome_tiff

# As QuPath 0.5 exports detections.
QUPATH = (
    "Image\tObject ID\tObject type\tName\tClass\tROI\tCentroid X {unit}\tCentroid Y {unit}\tArea\n"
    "a.tif\tid1\tDetection\t\tTumor\tPolygon\t{0}\t{1}\t5\n"
    "a.tif\tid2\tDetection\t\t\tPolygon\t{0}\t{0}\t5\n"
    "a.tif\tid3\tDetection\t\tStroma\tPolygon\t{1}\t{0}\t5\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An image of 40 x 60 pixels of 0.5 x 0.25 um (y, x), and a label image."""
    pixels = np.zeros((1, 1, 1, 40, 60), np.uint16)
    write_ome_tiff(tmp_path / "a.tif", pixels, ["DNA"], PixelSize(None, 0.5, 0.25))
    return tmp_path


def read(path: Path, content: object, **options: Any) -> CellTable:
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, options.pop("encoding", "utf-8"))
    return read_cell_table(path, to_train=False, **options)


def places(table: CellTable) -> list[list[float]]:
    return table.rows[["x", "y"]].to_numpy(float).tolist()


class TestQuPath:
    def test_pixels_count_from_the_corner(self, folder: Path) -> None:
        table = read(folder / "t.tsv", QUPATH.format("10.5", "20", unit="px"))
        assert places(table) == [[10, 19.5], [19.5, 10]]
        assert table.rows["cls"].tolist() == ["Tumor", "Stroma"]
        assert table.rows["image"].unique().tolist() == [str(folder / "a.tif")]
        assert any("1 cells of t.tsv have no class" in note for note in table.notes)
        assert any("table of QuPath: places from Centroid X px" in note for note in table.notes)

    @pytest.mark.parametrize("unit", ["µm", "μm"])  # the sign, and the Greek letter
    def test_micrometres_need_the_size_of_the_pixels(self, folder: Path, unit: str) -> None:
        table = read(folder / "t.tsv", QUPATH.format("5", "10", unit=unit))
        # x = 5 um / 0.25 um = 20 pixels from the corner; y = 10 um / 0.5 um = 20.
        assert places(table) == [[19.5, 19.5], [39.5, 9.5]]

    def test_csv_with_decimal_commas_in_windows_letters(self, folder: Path) -> None:
        text = QUPATH.replace("\t", ";").format("5,5", "10", unit="µm")
        table = read(folder / "t.csv", text, encoding="cp1252")
        assert places(table) == [[21.5, 19.5], [39.5, 10.5]]

    def test_an_unknown_size_is_refused(self, folder: Path) -> None:
        tifffile.imwrite(folder / "a.tif", np.zeros((40, 60), np.uint8), metadata={"axes": "YX"})
        with pytest.raises(InputError, match="in um, and the pixel size of a is unknown"):
            read(folder / "t.tsv", QUPATH.format("5", "10", unit="µm"))

    def test_one_image_for_the_cells_of_several_is_refused(self, folder: Path) -> None:
        text = QUPATH.format("5", "10", unit="px").replace("a.tif\tid3", "b.tif\tid3")
        with pytest.raises(InputError, match="cells of 2 images, and --image names one"):
            read(folder / "t.tsv", text, image=folder / "a.tif")

    def test_a_place_that_is_no_number_is_reported_with_its_row(self, folder: Path) -> None:
        text = QUPATH.format("5", "10", unit="px").replace("\t5\t10\t", "\tfive\t10\t")
        with pytest.raises(InputError, match="row 2.*five"):
            read(folder / "t.tsv", text)


class TestCellProfiler:
    text = (
        "ImageNumber,ObjectNumber,Location_Center_X,Location_Center_Y,Class\n"
        "1,1,10.25,20,G1\n1,2,30,5,M\n2,1,7,8,M\n"
    )

    def test_the_table_of_images_names_them(self, folder: Path) -> None:
        (folder / "My_Image.csv").write_text("ImageNumber,FileName_DNA\n1,a.tif\n2,b.tif\n")
        (folder / "b.tif").write_bytes((folder / "a.tif").read_bytes())
        table = read(folder / "My_Nuclei.csv", self.text)
        assert places(table) == [[10.25, 20], [30, 5], [7, 8]]
        names = [Path(name).name for name in table.rows["image"]]
        assert names == ["a.tif", "a.tif", "b.tif"]

    def test_with_a_label_image_cells_are_its_numbers(self, folder: Path) -> None:
        labels = np.zeros((40, 60), np.uint8)
        labels[:5, :5], labels[9:12, 9:12] = 1, 2
        tifffile.imwrite(folder / "nuclei.tif", labels)
        text = self.text.replace("Class", "labels,Class").replace(",G1", ",nuclei.tif,G1")
        text = text.replace(",M\n2,1,7,8,M", ",nuclei.tif,M")
        table = read(folder / "My_Nuclei.csv", text, image=folder / "a.tif")
        assert table.place == "label"
        assert table.rows["label"].tolist() == [1, 2]

    def test_a_lacking_table_of_images_is_named(self, folder: Path) -> None:
        with pytest.raises(InputError, match=r"My_Image.csv, which is not beside it.*--image"):
            read(folder / "My_Nuclei.csv", self.text)

    def test_a_file_for_each_channel_is_refused(self, folder: Path) -> None:
        (folder / "My_Image.csv").write_text("ImageNumber,FileName_A,FileName_B\n1,a.tif,b.tif\n")
        with pytest.raises(InputError, match="2 files for each image"):
            read(folder / "My_Nuclei.csv", self.text)


def test_ilastik_counts_from_the_centre_and_names_the_user_label(folder: Path) -> None:
    text = (
        "object_id,timestep,labelimage_oid,User Label,Predicted Class,Center of the object_0,"
        "Center of the object_1\n"
        "0,0,1,M,G1,10.5,20\n1,0,2,0,G1,30,5\n2,0,3,G1,G1,7,8\n"
    )
    table = read(folder / "t.csv", text, image=folder / "a.tif")
    assert places(table) == [[10.5, 20], [7, 8]]
    assert table.rows["cls"].tolist() == ["M", "G1"]
    assert table.rows["t"].tolist() == [0, 0]


class TestOutlines:
    def feature(self, x: int, name: str, kind: str = "Polygon") -> dict[str, Any]:
        square = [[[x, 2], [x + 6, 2], [x + 6, 8], [x, 8], [x, 2]]]
        return {
            "type": "Feature",
            "geometry": {"type": kind, "coordinates": square if kind == "Polygon" else [x, 2]},
            "properties": {"classification": {"name": name}} if name else {},
        }

    def test_outlines_with_classes_are_a_table(self, folder: Path) -> None:
        features = [self.feature(2, "M"), self.feature(20, ""), self.feature(40, "G1")]
        table = read(folder / "a.geojson", {"features": features}, image=folder / "a.tif")
        assert table.place == "label"
        assert table.rows["label"].tolist() == [1, 3]
        assert table.rows["cls"].tolist() == ["M", "G1"]
        assert table.rows["labels"].unique().tolist() == [str(folder / "a.geojson")]
        assert any("1 cells of a.geojson have no class" in note for note in table.notes)

    def test_points_with_classes_are_centres(self, folder: Path) -> None:
        features = [self.feature(2, "M", "Point"), self.feature(20, "G1", "Point")]
        table = read(folder / "a.geojson", {"features": features}, image=folder / "a.tif")
        assert places(table) == [[1.5, 1.5], [19.5, 1.5]]

    def test_outlines_without_classes_are_refused(self, folder: Path) -> None:
        with pytest.raises(InputError, match="No cell of .*a.geojson has a class"):
            read(folder / "a.geojson", {"features": [self.feature(2, "")]})

    def test_the_column_labels_takes_outlines(self, folder: Path) -> None:
        from cellcam_training.tables.label_fields import fields_of_rows, labels_of_rows

        from cellcam import open_stack

        (folder / "a.geojson").write_text(
            json.dumps({"features": [self.feature(2, ""), self.feature(20, "")]})
        )
        table = read(folder / "t.csv", "image,labels,label,cls\na.tif,a.geojson,2,M\n")
        stack = open_stack(folder / "a.tif")
        ((_, time, view),) = fields_of_rows(table.rows, stack, "plane")
        labels = labels_of_rows(table.rows, stack, time, view)
        assert (labels == 2).sum() == 36
        assert labels[4, 22] == 2
