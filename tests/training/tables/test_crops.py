from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from cellcam_training.tables import crops as crops_module
from cellcam_training.tables import image_crops
from cellcam_training.tables.cell_table import read_cell_table
from cellcam_training.tables.crops import CropSettings, crops_for_model, read_crops
from support.cell_tables import crops_of, model_spec, write_table

from cellcam import InputError
from cellcam.stacks.stack import PixelSize
from cellcam.stacks.writing import write_ome_tiff

SETTINGS = CropSettings(crop_size=(5, 7), field="max")


def test_centres_boxes_and_labels_of_the_same_cells_give_the_same_crops(folder: Path) -> None:
    field = tifffile.imread(folder / "field.ome.tif").reshape(2, 3, 50, 60).max(1)
    expected = [field[:, 29:34, 38:45], field[:, 9:14, 18:25]]
    image = ["field.ome.tif"] * 2
    by_centre = crops_of(folder, SETTINGS, image=image, x=[41, 21], y=[31, 11])
    by_box = crops_of(
        folder, SETTINGS, image=image,
        xmin=[40, 20], ymin=[30, 10], xmax=[43, 23], ymax=[33, 13],
    )  # fmt: skip
    by_label = crops_of(folder, SETTINGS, image=image, labels=["labels.ome.tif"] * 2, label=[2, 5])
    for crops in (by_centre, by_box, by_label):
        np.testing.assert_array_equal(crops, expected)


def test_crops_are_in_the_order_of_the_table(folder: Path) -> None:
    stored = tifffile.imread(folder / "crops.tif")
    order = [4, 0, 5, 2]
    crops = crops_of(folder, CropSettings(), file=["crops.tif"] * 4, index=order)
    np.testing.assert_array_equal(crops, stored[order])


def test_the_pixel_size_given_for_ready_made_crops_does_not_resample_them(folder: Path) -> None:
    stored = tifffile.imread(folder / "crops.tif")
    path = write_table(folder, cls=list("abab"), file=["crops.tif"] * 4, index=[0, 1, 2, 3])
    crops = read_crops(read_cell_table(path), CropSettings(pixel_size_um=(0.3, 0.3)))
    assert crops.pixel_size_um == (0.3, 0.3)
    np.testing.assert_array_equal(crops.pixels, stored[:4])


def test_a_row_can_name_its_plane(folder: Path) -> None:
    field = tifffile.imread(folder / "field.ome.tif").reshape(2, 3, 50, 60)
    settings = CropSettings(crop_size=(5, 7))
    places = {"image": ["field.ome.tif"] * 3, "x": [21] * 3, "y": [11] * 3}
    crops = crops_of(folder, settings, **places, z=[0, 2, 1])
    np.testing.assert_array_equal(crops, [field[:, z, 9:14, 18:25] for z in (0, 2, 1)])


def test_a_stack_of_planes_asks_which_of_them_show_the_cells(folder: Path) -> None:
    with pytest.raises(InputError, match="a column z of the table .* --field max"):
        crops_of(folder, CropSettings(crop_size=(5, 7)), image=["field.ome.tif"], x=[41], y=[31])


def test_crops_can_be_resampled_to_another_pixel_size(folder: Path) -> None:
    settings = CropSettings(crop_size=(5, 7), field="max", pixel_size_um=(1.0, 1.0))
    table = read_cell_table(
        write_table(folder, cls=list("ab"), image=["field.ome.tif"] * 2, x=[21, 9], y=[11, 9]),
        to_train=False,
    )
    crops = read_crops(table, settings)
    assert crops.pixel_size_um == (1.0, 1.0)
    assert crops.crop_size == (5, 7)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"x": [21, 99, 31], "y": [11] * 3}, "outside the image"),
        ({"x": [21, np.nan, 31], "y": [11] * 3}, "row 3: x is empty"),
        ({"labels": ["labels.ome.tif"] * 3, "label": [2, 5, 4]}, "row 4: label 4 is not in"),
    ],
)
def test_cells_outside_their_image_are_refused(
    folder: Path, place: dict[str, list[object]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        crops_of(folder, SETTINGS, image=["field.ome.tif"] * 3, **place)


def test_an_index_beyond_the_stack_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="page group 6 .* 0 to 5"):
        crops_of(folder, CropSettings(), file=["crops.tif"] * 4, index=[0, 1, 2, 6])


def test_all_problems_of_images_are_reported_before_pixels_are_read(folder: Path) -> None:
    write_ome_tiff(
        folder / "other.ome.tif", np.zeros((1, 1, 1, 9, 9), np.uint8), ("ER",), PixelSize()
    )
    (folder / "broken.tif").write_bytes(b"II*")
    columns = {
        "image": ["field.ome.tif", "field.ome.tif", "other.ome.tif", "broken.tif"],
        "xmin": [5, 50, 0, 0], "ymin": [5, 5, 0, 0],
        "xmax": [9, 61, 4, 4], "ymax": [9, 9, 4, 4],
    }  # fmt: skip
    table = read_cell_table(write_table(folder, cls=list("abab"), **columns))
    with pytest.raises(InputError) as error:
        read_crops(table, SETTINGS)
    for problem in ("row 3: box", "row 4: ", "has the channels ER", "row 5: "):
        assert problem in str(error.value)


def test_default_crops_around_boxes_show_the_whole_cell(folder: Path) -> None:
    boxes = {"xmin": [4, 14], "ymin": [6, 16], "xmax": [30, 40], "ymax": [22, 32]}
    crops = crops_of(folder, CropSettings(field="max"), image=["field.ome.tif"] * 2, **boxes)
    assert crops.shape[2:] == (40, 40)  # 1.5 times 26, up to the next multiple of 8


def test_a_field_read_in_bands_gives_the_same_crops(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(1)
    places = {"x": random.integers(0, 60, 40).tolist(), "y": random.integers(0, 50, 40).tolist()}
    image = ["field.ome.tif"] * 40
    whole = crops_of(folder, SETTINGS, image=image, **places)
    monkeypatch.setattr(image_crops, "_BAND_BYTES", 1)
    np.testing.assert_array_equal(crops_of(folder, SETTINGS, image=image, **places), whole)


def test_stored_crops_are_reused_until_the_settings_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_table(
        folder, cls=list("abab"), image=["field.ome.tif"] * 4, x=[11, 21, 31, 41], y=[11] * 4
    )
    first = read_crops(read_cell_table(path), SETTINGS, folder / "kept")
    monkeypatch.setattr(crops_module, "crops_of_image", None)  # reading again would fail
    again = read_crops(read_cell_table(path), SETTINGS, folder / "kept")
    np.testing.assert_array_equal(again.pixels, first.pixels)
    with pytest.raises(TypeError):
        read_crops(read_cell_table(path), replace(SETTINGS, crop_size=(3, 3)), folder / "kept")


def test_crops_for_a_model_have_its_size_and_its_order_of_channels(folder: Path) -> None:
    stored = tifffile.imread(folder / "crops.tif")
    path = write_table(folder, cls=list("abab"), file=["crops.tif"] * 4, index=[0, 1, 2, 3])
    table, spec = read_cell_table(path), model_spec(("actin", "DNA"), (10, 8))
    crops = crops_for_model(table, spec, ("DNA", "actin"))
    np.testing.assert_array_equal(crops.pixels, stored[:4, ::-1, 1:11, 2:10])
    with pytest.raises(InputError, match="wants the channels actin, DNA"):
        crops_for_model(table, spec, ("DNA", "ER"))


@pytest.mark.fault("images of several kinds of pixels in one table", "a warning names the kinds")
def test_several_kinds_of_pixels_have_a_warning(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 200, (40, 40))
    for i, kind in enumerate((np.uint16, np.uint8, np.uint8)):
        image = (pixels + i).astype(kind)
        tifffile.imwrite(tmp_path / f"{'abc'[i]}.tif", image, photometric="miniswhite")
    rows = {"image": ["a.tif", "b.tif", "c.tif"], "cls": list("aab"), "x": [9] * 3, "y": [9] * 3}
    table = read_cell_table(write_table(tmp_path, **rows), to_train=False)
    crops = read_crops(table, CropSettings(crop_size=(8, 8)))
    inverted, kinds = crops.warnings
    assert inverted.startswith("3 images such as a: In this file 0 is white")
    assert "several kinds (uint16 in a; uint8 in 2 images such as b)" in kinds
