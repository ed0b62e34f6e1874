from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pandas as pd
import pytest
from cellcam_training.tables.cell_regions import cell_regions
from cellcam_training.tables.cell_table import read_cell_table
from cellcam_training.tables.crops import CropSettings, read_crops
from cellcam_training.tables.pascal_voc import voc_boxes
from PIL import Image
from support.cell_tables import model_spec

from cellcam import InputError

OBJECT = """<object><name>{cls}</name><difficult>{difficult}</difficult><bndbox><xmin>{xmin}</xmin>
<ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>"""


def write_voc(folder: Path, boxes: pd.DataFrame, parts: dict[str, list[str]]) -> None:
    """Write annotations as in VOC: counted from 1, including the last pixel."""
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for image, boxes_of_image in boxes.groupby("image"):
        objects = [
            OBJECT.format(
                cls=escape(row.cls),
                difficult=0,
                xmin=row.xmin + 1,
                ymin=row.ymin + 1,
                xmax=row.xmax,
                ymax=row.ymax,
            )
            for row in boxes_of_image.itertuples()
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


def test_voc_boxes_become_half_open_and_start_at_zero(small: Path) -> None:
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
def test_a_damaged_annotation_is_refused_by_name(small: Path, text: str) -> None:
    (small / "Annotations" / "a.xml").write_text(text, "utf-8")
    with pytest.raises(InputError, match=r"a\.xml is not a PASCAL VOC annotation"):
        voc_boxes(small)


def test_annotations_without_boxes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "Annotations").mkdir()
    with pytest.raises(InputError, match="no XML file with a box"):
        voc_boxes(tmp_path)


def test_real_blood_cells_in_the_layout_of_voc_equal_their_table(
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
    crops = read_crops(table, CropSettings((128, 128)))
    assert crops.pixels.shape == (60, 3, 128, 128)
    spec = model_spec(crops.channels, (128, 128))
    regions = cell_regions(table, spec)
    assert regions is not None
    sides = table.rows["xmax"] - table.rows["xmin"], table.rows["ymax"] - table.rows["ymin"]
    area = np.minimum(sides[0], 128) * np.minimum(sides[1], 128)
    assert regions.sum((1, 2)).tolist() == area.tolist()
