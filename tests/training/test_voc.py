from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pandas as pd
import pytest
from cellcam_training.fitting.recipe import Recipe
from cellcam_training.tables.cell_regions import cell_regions
from cellcam_training.tables.cell_table import read_cell_table
from cellcam_training.tables.crops import read_crops
from cellcam_training.tables.table_formats import voc_boxes
from PIL import Image

from cellcam import InputError, ModelSpec
from cellcam.models.normalisation import Normalisation

OBJECT = """<object><name>{cls}</name><difficult>{difficult}</difficult><bndbox><xmin>{xmin}</xmin>
<ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>"""


def write_voc(folder: Path, boxes: pd.DataFrame, parts: dict[str, list[str]]) -> None:
    """Annotations as VOC has them: counted from 1, the last pixel included."""
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for image, own in boxes.groupby("image"):
        objects = [
            OBJECT.format(
                cls=escape(row.cls),
                difficult=0,
                xmin=row.xmin + 1,
                ymin=row.ymin + 1,
                xmax=row.xmax,
                ymax=row.ymax,
            )
            for row in own.itertuples()
        ]
        text = f"<annotation><filename>{image}</filename>{''.join(objects)}</annotation>"
        (folder / "Annotations" / f"{Path(str(image)).stem}.xml").write_text(text, "utf-8")
    for part, names in parts.items():
        (folder / "ImageSets" / "Main" / f"{part}.txt").write_text("\n".join(names), "utf-8")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    boxes = pd.DataFrame(
        [
            ("a.jpg", "cat", 0, 0, 4, 6),
            ("a.jpg", "dog", 10, 8, 30, 20),
            ("b.jpg", "cat", 3, 5, 9, 9),
        ],
        columns=["image", "cls", "xmin", "ymin", "xmax", "ymax"],
    )
    write_voc(
        tmp_path, boxes, {"train": ["a"], "test": ["b"], "trainval": ["a"], "cat_test": ["b -1"]}
    )
    for name in ("a", "b"):
        Image.fromarray(np.full((24, 32, 3), 99, np.uint8)).save(
            tmp_path / "JPEGImages" / f"{name}.jpg"
        )
    return tmp_path


def test_boxes_of_voc_become_half_open_from_zero(small: Path) -> None:
    found = voc_boxes(small)
    assert found["image"].tolist() == ["JPEGImages/a.jpg"] * 2 + ["JPEGImages/b.jpg"]
    assert found[["xmin", "ymin", "xmax", "ymax"]].to_numpy().tolist() == [
        [0, 0, 4, 6],
        [10, 8, 30, 20],
        [3, 5, 9, 9],
    ]
    assert found["set"].tolist() == ["train", "train", "test"]


def test_a_folder_in_the_layout_of_voc_is_a_cell_table(small: Path) -> None:
    table = read_cell_table(small, only=["set=train"], to_train=False)
    assert (table.place, table.classes) == ("box", ("cat", "dog"))
    assert len(table.rows) == 2


@pytest.mark.parametrize(
    "text", ["<annotation>", "<annotation><object><name>x</name></object></annotation>"]
)
def test_a_damaged_annotation_is_named(small: Path, text: str) -> None:
    (small / "Annotations" / "a.xml").write_text(text, "utf-8")
    with pytest.raises(InputError, match=r"a\.xml is no annotation in the form of VOC"):
        voc_boxes(small)


def test_annotations_without_boxes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "Annotations").mkdir()
    with pytest.raises(InputError, match="no XML file with a box"):
        voc_boxes(tmp_path)


def test_blood_cells_in_the_layout_of_voc_are_those_of_their_table(
    shared_data: Path, tmp_path: Path
) -> None:
    boxes = pd.read_csv(shared_data / "fov_boxes" / "boxes.csv")
    boxes = boxes[boxes["image"].str.startswith("bccd") & boxes["flag"].isna()].head(60)
    short = boxes.assign(image=[Path(name).name for name in boxes["image"]])
    write_voc(tmp_path / "voc", short, {})
    for name in short["image"].unique():
        image = (shared_data / "fov_boxes" / "bccd" / name).read_bytes()
        (tmp_path / "voc" / "JPEGImages" / name).write_bytes(image)
    table = read_cell_table(tmp_path / "voc", to_train=False)
    wanted = short.sort_values(["image"], kind="stable")
    columns = ["xmin", "ymin", "xmax", "ymax"]
    assert table.rows[columns].to_numpy().tolist() == wanted[columns].to_numpy().tolist()
    assert table.rows["cls"].tolist() == wanted["cls"].tolist()
    crops = read_crops(table, Recipe(crop_size=(128, 128)))
    assert crops.pixels.shape == (60, 3, 128, 128)
    spec = ModelSpec(
        network="small_cnn",
        channels=crops.channels,
        classes=("a", "b"),
        crop_size=(128, 128),
        normalisation=Normalisation(offset=(0, 0, 0), scale=(1, 1, 1)),
        target_layer="features",
    )
    regions = cell_regions(table, spec)
    assert regions is not None
    sides = table.rows["xmax"] - table.rows["xmin"], table.rows["ymax"] - table.rows["ymin"]
    area = np.minimum(sides[0], 128) * np.minimum(sides[1], 128)
    assert regions.sum((1, 2)).tolist() == area.tolist()
