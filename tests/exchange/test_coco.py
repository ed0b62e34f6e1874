"""COCO as annotation programs write it, and round trips."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.many_cells import cells_of, many_cells

from cellcam import InputError, Stack, open_labels
from cellcam.cells.finder import FieldView
from cellcam.exchange.cells import Cells, ImageFacts
from cellcam.exchange.coco import read_json, write_coco
from cellcam.exchange.spans import spans_of

Y, X = np.indices((50, 70))
PIXELS = (np.hypot(Y - 22, X - 31) < 17) & (np.hypot(Y - 20, X - 35) > 4)
# These pixels, as COCO's own tools (pycocotools 2.0.11) encode them.
COMPRESSED = (
    "og0;U14L4M2M4N0O2N2O0O2O0O2O00000000]O@4`0JD4<KF4:LF4:KH48MF4;KE4<MB4?M]O4d0=1N2N102L3N3L4LmQ1"
)


def painted(cells: Cells, shape: tuple[int, int]) -> np.ndarray:
    return spans_of(cells.outlines, cells.numbers, shape).paint(0, shape[0], 0, shape[1])


def content(*segmentations: Any, **changes: Any) -> dict[str, Any]:
    annotations = [
        {"id": 40 + i, "image_id": 3, "category_id": 1 + i % 2, "segmentation": segmentation}
        for i, segmentation in enumerate(segmentations)
    ]
    return {
        "images": [{"id": 3, "file_name": "plate/a.png", "height": 3, "width": 4}],
        "categories": [{"id": 1, "name": "G1"}, {"id": 2, "name": "M"}],
        "annotations": annotations,
        **changes,
    }


def read(path: Path, written: object) -> Cells:
    path.write_text(json.dumps(written))
    found = read_json(path)
    return found[0] if isinstance(found, list) else found


def test_a_thousand_cells_are_the_same(tmp_path: Path) -> None:
    labels = many_cells(1000)
    height, width = labels.shape
    cells = replace(cells_of(labels), image=ImageFacts("a", (height, width)))
    write_coco(cells, tmp_path / "cells.json")
    (back,) = read_json(tmp_path / "cells.json")
    assert back.ids == cells.ids
    assert back.classes == cells.classes
    assert back.image.shape == labels.shape
    np.testing.assert_array_equal(back.numbers, cells.numbers)
    np.testing.assert_array_equal(painted(back, labels.shape), labels)
    np.testing.assert_array_equal(back.measurements["area"], cells.measurements["area"])
    written = json.loads((tmp_path / "cells.json").read_text())["annotations"]
    assert {type(one["segmentation"]) for one in written} == {list, dict}
    # The area of each is the number of its pixels, also by its run lengths.
    areas = dict(
        zip(cells.numbers.tolist(), np.bincount(labels.ravel())[cells.numbers], strict=True)
    )
    for one in written:
        assert one["area"] == areas[one["attributes"]["label"]]
        if isinstance(one["segmentation"], dict):
            counts = one["segmentation"]["counts"]
            assert sum(counts[1::2]) == one["area"]
            assert sum(counts) == height * width
            assert all(n > 0 for n in counts[1:-1])


def test_run_lengths_go_down_the_columns(tmp_path: Path) -> None:
    ring = np.ones((3, 3), int)
    ring[1, 1] = 0
    cells = replace(cells_of(np.pad(ring, ((0, 0), (1, 0)))), image=ImageFacts("a", (3, 4)))
    write_coco(cells, tmp_path / "a.json")
    (one,) = json.loads((tmp_path / "a.json").read_text())["annotations"]
    # Columns 1 to 3 are 111, 101 and 111; the first and the last run go on over their ends.
    assert one["segmentation"] == {"size": [3, 4], "counts": [3, 4, 1, 4, 0]}


def test_polygons_and_run_lengths(tmp_path: Path) -> None:
    polygon = [0, 0, 2, 0, 2, 2, 0, 2]
    found = read(
        tmp_path / "a.json",
        content([polygon], {"size": [3, 4], "counts": [9, 3]}),
    )
    assert found.ids == ("40", "41")
    assert found.classes == ("G1", "M")
    assert (found.image.name, found.image.shape) == ("a.png", (3, 4))
    assert painted(found, (3, 4)).tolist() == [[1, 1, 0, 2], [1, 1, 0, 2], [0, 0, 0, 2]]


def test_compressed_run_lengths_of_cocos_own_tools(tmp_path: Path) -> None:
    found = read(tmp_path / "a.json", content({"size": [50, 70], "counts": COMPRESSED}))
    np.testing.assert_array_equal(painted(found, PIXELS.shape), PIXELS)


def test_of_several_images_the_name_decides(tmp_path: Path) -> None:
    several = content([[0, 0, 2, 0, 2, 2]])
    several["images"].append({"id": 4, "file_name": "b.png", "height": 3, "width": 4})
    several["annotations"][0]["image_id"] = 4
    (tmp_path / "a.json").write_text(json.dumps(several))

    def image(name: str) -> Stack:
        return Stack.from_array(np.zeros((3, 4)), "YX", ["DNA"], name=name)

    finder = open_labels(tmp_path / "a.json", image("b"))
    assert finder.label(FieldView.whole(image("b")), None).max() == 1
    with pytest.raises(InputError, match=r"cells of 2 images \(a.png, b.png\), of which 0"):
        open_labels(tmp_path / "a.json", image("c"))


def test_the_size_of_the_image_must_fit(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content([[0, 0, 2, 0, 2, 2]])))
    image = Stack.from_array(np.zeros((6, 8)), "YX", ["DNA"], name="a")
    with pytest.raises(InputError, match="about an image of 3 x 4 pixels.*has 6 x 8"):
        open_labels(tmp_path / "a.json", image)


def test_geojson_is_recognised_by_its_features(tmp_path: Path) -> None:
    square = [[[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": square}}
    assert len(read(tmp_path / "a.json", {"features": [feature]})) == 1


def test_without_a_size_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="size of the image"):
        write_coco(cells_of(np.eye(2, dtype=int)), tmp_path / "a.json")


@pytest.mark.fault("annotations in COCO's format that are damaged", "refused, with which object")
@pytest.mark.parametrize(
    ("written", "message"),
    [
        (content([[0, 0, 1, 1]]), "object 40 .*three finite corners"),
        (content([[0, 0, 1, 1, 1]]), "object 40"),
        (content({"size": [3, 4], "counts": [9, 9]}), "do not fill the image"),
        (content({"size": [10**6, 10**6], "counts": [10**12]}), "do not fill the image"),
        (content({"size": [3, 4], "counts": [20, -8]}), "do not fill the image"),
        (content({"size": [3, 4], "counts": "\x01"}), "damaged"),
        (content({"size": [3, 4], "counts": "o" * 100}), "damaged"),
        (content({"size": [3, 4]}), "object 40"),
        (content([["a"] * 6]), "object 40"),
        (content([], images=[]), "no COCO file"),
        (content([], images=[{"id": 3}]), "no COCO file"),
        (content([], categories=[1]), "no COCO file"),
        (content(annotations=[1]), "no COCO file"),
    ],
)
def test_damaged_files(tmp_path: Path, written: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path / "a.json", written)
