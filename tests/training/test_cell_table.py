from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from cellcam_training.fitting.data_split import validation_cells
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.tables import crops as crops_module
from cellcam_training.tables import image_crops
from cellcam_training.tables.cell_table import read_cell_table
from cellcam_training.tables.crops import read_crops
from napari.layers import Points
from napari_builtins.io import napari_write_points
from PIL import Image

from cellcam import InputError
from cellcam.errors import UsageError
from cellcam.stacks.stack import PixelSize
from cellcam.stacks.writing import write_ome_tiff


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A field of 2 channels x 3 planes, its label image and a stack of crops."""
    random = np.random.default_rng(0)
    field = random.integers(0, 999, (1, 2, 3, 50, 60)).astype(np.uint16)
    write_ome_tiff(tmp_path / "field.ome.tif", field, ("DNA", "actin"), PixelSize(1, 0.5, 0.5))
    labels = np.zeros((1, 1, 1, 50, 60), np.uint16)
    labels[..., 10:13, 20:23] = 5
    labels[..., 30:33, 40:43] = 2
    write_ome_tiff(tmp_path / "labels.ome.tif", labels, ("cells",))
    crops = random.integers(0, 999, (6, 2, 12, 12)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "crops.tif", crops, metadata={"axes": "QCYX"})
    return tmp_path


def write(folder: Path, **columns: list[object]) -> Path:
    pd.DataFrame(columns).to_csv(folder / "cells.csv", index=False)
    return folder / "cells.csv"


def crops_of(folder: Path, recipe: Recipe, **columns: list[object]) -> np.ndarray:
    n = len(next(iter(columns.values())))
    classes = ["a", "b"] * n
    return read_crops(read_cell_table(write(folder, cls=classes[:n], **columns)), recipe).pixels


RECIPE = Recipe(crop_size=(5, 7), field="max")


def test_centres_boxes_and_labels_mean_the_same_crops(folder: Path) -> None:
    field = tifffile.imread(folder / "field.ome.tif").reshape(2, 3, 50, 60).max(1)
    expected = [field[:, 29:34, 38:45], field[:, 9:14, 18:25]] * 2
    image = ["field.ome.tif"] * 4
    by_centre = crops_of(folder, RECIPE, image=image, x=[41, 21] * 2, y=[31, 11] * 2)
    by_box = crops_of(
        folder, RECIPE, image=image,
        xmin=[40, 20] * 2, ymin=[30, 10] * 2, xmax=[43, 23] * 2, ymax=[33, 13] * 2,
    )  # fmt: skip
    by_label = crops_of(
        folder, RECIPE, image=image, labels=["labels.ome.tif"] * 4, label=[2, 5] * 2
    )
    for crops in (by_centre, by_box, by_label):
        np.testing.assert_array_equal(crops, expected)


def test_crops_come_in_the_order_of_the_table(folder: Path) -> None:
    stored = tifffile.imread(folder / "crops.tif")
    order = [4, 0, 5, 2]
    crops = crops_of(folder, Recipe(), file=["crops.tif"] * 4, index=order)
    np.testing.assert_array_equal(crops, stored[order])


def test_crops_that_were_cut_before_keep_their_pixels_at_the_size_that_is_said(
    folder: Path,
) -> None:
    stored = tifffile.imread(folder / "crops.tif")
    path = write(folder, cls=list("abab"), file=["crops.tif"] * 4, index=[0, 1, 2, 3])
    crops = read_crops(read_cell_table(path), Recipe(pixel_size_um=(0.3, 0.3)))
    assert crops.pixel_size_um == (0.3, 0.3)
    np.testing.assert_array_equal(crops.pixels, stored[:4])


def test_single_planes_can_be_named(folder: Path) -> None:
    field = tifffile.imread(folder / "field.ome.tif").reshape(2, 3, 50, 60)
    recipe = Recipe(crop_size=(5, 7))
    places = {"image": ["field.ome.tif"] * 4, "x": [21] * 4, "y": [11] * 4}
    crops = crops_of(folder, recipe, **places, z=[0, 2, 1, 0])
    np.testing.assert_array_equal(crops, [field[:, z, 9:14, 18:25] for z in (0, 2, 1, 0)])


def test_crops_can_be_taken_at_another_pixel_size(folder: Path) -> None:
    recipe = Recipe(crop_size=(5, 7), field="max", pixel_size_um=(1.0, 1.0))
    table = read_cell_table(
        write(folder, cls=list("aabb"), image=["field.ome.tif"] * 4, x=[21] * 4, y=[11] * 4)
    )
    crops = read_crops(table, recipe)
    assert crops.pixel_size_um == (1.0, 1.0)
    assert crops.crop_size == (5, 7)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": ["field.ome.tif"], "x": [1], "y": [1]}, "It needs image"),
        ({"cls": list("aabb"), "x": [1] * 4, "y": [1] * 4}, "It needs image"),
        ({"cls": list("aabb"), "image": ["field.ome.tif"] * 4}, "one of: index"),
        ({"cls": list("aabb"), "image": ["no.tif"] * 4, "index": [0] * 4}, "row 5: there is no"),
        ({"cls": list("aaab"), "file": ["crops.tif"] * 4, "index": [0] * 4}, "b has one cell"),
        ({"cls": list("aaaa"), "file": ["crops.tif"] * 4, "index": [0] * 4}, "one class only, a"),
        ({"cls": ["a", None, "b", "b"], "file": ["crops.tif"] * 4, "index": [0] * 4}, "row 3: no"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(
    folder: Path, columns: dict[str, list[object]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_cell_table(write(folder, **columns))


def test_all_that_is_wrong_is_said_at_once_row_by_row(folder: Path) -> None:
    path = write(
        folder, cls=["a", None, "b", "b", "a"], image=["field.ome.tif"] * 4 + ["no.tif"],
        xmin=[1, 1, 9, 1, 1], ymin=[1] * 5, xmax=[5, 5, 9, 5, 5], ymax=[5] * 5,
    )  # fmt: skip
    with pytest.raises(InputError) as error:
        read_cell_table(path)
    told = str(error.value).splitlines()[1:]
    assert [line.split(":")[0] for line in told] == ["row 3", "row 4", "row 6"]
    assert "box has no extent" in told[1]


def test_classes_from_one_group_and_images_on_both_sides_are_warned_of(folder: Path) -> None:
    table = read_cell_table(
        write(
            folder, cls=list("aabb"), image=["field.ome.tif"] * 4, x=[21] * 4, y=[11] * 4,
            group=["m1", "m2", "m2", "m2"], split=["train", "val", "train", "val"],
        )
    )  # fmt: skip
    assert len(table.warnings) == 3
    assert "one group (of b each)" in table.warnings[0]
    assert "both sides" in table.warnings[1]
    separate = write(folder, cls=list("aabb"), file=["crops.tif"] * 4, index=[0, 1, 2, 3])
    assert read_cell_table(separate).warnings == table.warnings[2:]
    assert "Fewer than 20 cells of a (2), b (2)" in table.warnings[2]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"x": [21, 99, 21, 21], "y": [11] * 4}, "outside the image"),
        ({"x": [21, np.nan, 21, 21], "y": [11] * 4}, "outside the image"),
        ({"labels": ["labels.ome.tif"] * 4, "label": [2, 5, 2, 4]}, "no cell with the label 4"),
    ],
)
def test_cells_that_are_not_in_their_image_are_refused(
    folder: Path, place: dict[str, list[object]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        crops_of(folder, RECIPE, image=["field.ome.tif"] * 4, **place)


def test_an_index_beyond_the_stack_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="page group 6 .* 0 to 5"):
        crops_of(folder, Recipe(), file=["crops.tif"] * 4, index=[0, 1, 2, 6])


class TestSplits:
    def rows(self, **columns: list[str]) -> pd.DataFrame:
        n = 60
        return pd.DataFrame(
            {"cls": list("abc") * (n // 3), "group": [""] * n, "split": [""] * n} | columns
        )

    def test_groups_are_never_split(self) -> None:
        rows = self.rows(group=[f"movie {i // 6}" for i in range(60)])
        chosen = validation_cells(rows, 0.2, seed=0)
        assert not set(rows["group"][chosen]) & set(rows["group"][~chosen])
        assert 0.1 <= chosen.mean() <= 0.3

    def test_classes_are_balanced(self) -> None:
        rows = self.rows()
        chosen = validation_cells(rows, 0.2, seed=0)
        assert rows["cls"][chosen].value_counts().tolist() == [4, 4, 4]

    def test_the_tables_own_split_decides(self) -> None:
        split = ["val" if i % 3 == 1 else "train" for i in range(60)]
        chosen = validation_cells(self.rows(split=split), 0.2, seed=0)
        np.testing.assert_array_equal(chosen, [s == "val" for s in split])

    def test_a_single_group_cannot_be_split(self) -> None:
        with pytest.raises(InputError, match="one group"):
            validation_cells(self.rows(group=["movie"] * 60), 0.2, seed=0)


class TestForms:
    def test_folders_of_one_class_each(self, tmp_path: Path) -> None:
        random = np.random.default_rng(0)
        drawn = {}
        for name in ("a/1.png", "a/2.png", "b/1.jpg.png", "b/2.png"):
            drawn[name] = random.integers(0, 255, (10, 12, 3)).astype(np.uint8)
            (tmp_path / name).parent.mkdir(exist_ok=True)
            Image.fromarray(drawn[name]).save(tmp_path / name)
        (tmp_path / "a" / "notes.txt").write_text("not a cell")
        table = read_cell_table(tmp_path)
        assert table.rows["cls"].tolist() == ["a", "a", "b", "b"]
        crops = read_crops(table, Recipe())
        assert crops.channels == ("red", "green", "blue")
        np.testing.assert_array_equal(
            crops.pixels, [np.moveaxis(pixels, 2, 0) for pixels in drawn.values()]
        )

    def test_points_saved_from_napari(self, folder: Path) -> None:
        layer = Points(
            [[2, 11, 21], [0, 31, 41], [1, 12, 14], [1, 30, 9]],
            features={"cls": ["a", "b", "a", "b"]},
        )
        data, about, _ = layer.as_layer_data_tuple()
        saved = napari_write_points(str(folder / "points.csv"), data, about)
        table = read_cell_table(Path(saved), image=folder / "field.ome.tif")
        assert table.place == "centre"
        assert table.rows[["z", "y", "x"]].to_numpy(float).tolist() == layer.data.tolist()
        field = tifffile.imread(folder / "field.ome.tif").reshape(2, 3, 50, 60)
        crops = read_crops(table, Recipe(crop_size=(5, 7)))
        np.testing.assert_array_equal(crops.pixels[0], field[:, 2, 9:14, 18:25])

    def test_rows_are_chosen_by_patterns_and_named_as_in_the_file(self, folder: Path) -> None:
        columns = {
            "image": ["field.ome.tif"] * 5 + ["gone.tif"],
            "flag": [None, "cut", None, None, None, None],
            "cls": ["a", "b", "a", "b", "b", "b"],
            "x": [21] * 6,
            "y": [11, 11, 11, 500, 11, 11],
        }
        table = read_cell_table(write(folder, **columns), only=["image=*.ome.tif", "flag!=c?t"])
        assert table.rows["row"].tolist() == [0, 2, 3, 4]
        with pytest.raises(InputError, match="row 5: centre 21, 500 is outside"):
            read_crops(table, RECIPE)
        with pytest.raises(UsageError, match="COLUMN=PATTERN"):
            read_cell_table(folder / "cells.csv", only=["colour=red"])

    def test_all_that_is_wrong_with_images_is_told_before_pixels_are_read(
        self, folder: Path
    ) -> None:
        write_ome_tiff(
            folder / "other.ome.tif", np.zeros((1, 1, 1, 9, 9), np.uint8), ("ER",), PixelSize()
        )
        (folder / "broken.tif").write_bytes(b"II*")
        columns = {
            "image": ["field.ome.tif", "field.ome.tif", "other.ome.tif", "broken.tif"],
            "xmin": [5, 50, 0, 0], "ymin": [5, 5, 0, 0],
            "xmax": [9, 61, 4, 4], "ymax": [9, 9, 4, 4],
        }  # fmt: skip
        table = read_cell_table(write(folder, cls=list("abab"), **columns))
        with pytest.raises(InputError) as told:
            read_crops(table, RECIPE)
        for complaint in ("row 3: box", "row 4: ", "has the channels ER", "row 5: "):
            assert complaint in str(told.value)


def test_crops_round_boxes_show_the_cell_whole(folder: Path) -> None:
    boxes = {"xmin": [4] * 4, "ymin": [6] * 4, "xmax": [30] * 4, "ymax": [22] * 4}
    crops = crops_of(folder, Recipe(field="max"), image=["field.ome.tif"] * 4, **boxes)
    assert crops.shape[2:] == (40, 40)  # 1.5 times 26, up to the next multiple of 8


def test_bands_of_a_large_field_give_the_same_crops(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(1)
    places = {"x": random.integers(0, 60, 40).tolist(), "y": random.integers(0, 50, 40).tolist()}
    image = ["field.ome.tif"] * 40
    whole = crops_of(folder, RECIPE, image=image, **places)
    monkeypatch.setattr(image_crops, "_BAND_BYTES", 1)
    np.testing.assert_array_equal(crops_of(folder, RECIPE, image=image, **places), whole)


def test_crops_are_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(folder, cls=list("abab"), image=["field.ome.tif"] * 4, x=[21] * 4, y=[11] * 4)
    first = read_crops(read_cell_table(path), RECIPE, folder / "kept")
    monkeypatch.setattr(crops_module, "crops_of_image", None)  # reading again would fail
    again = read_crops(read_cell_table(path), RECIPE, folder / "kept")
    np.testing.assert_array_equal(again.pixels, first.pixels)
    with pytest.raises(TypeError):
        read_crops(
            read_cell_table(path), RECIPE.model_copy(update={"crop_size": (3, 3)}), folder / "kept"
        )
