"""Outlines given as the cells of an image: one set of rules, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from support.batches import HERE, write_field
from support.many_cells import cells_of, many_cells

from cellcam import CellModel, InputError, Stack, open_labels, save_model
from cellcam.batch.run import run_batch
from cellcam.cells.finder import FieldView
from cellcam.exchange.qupath import write_geojson
from cellcam.stacks.blocks import Part


def image(n_times: int = 1, n_planes: int = 1, size: tuple[int, int] = (6, 8)) -> Stack:
    return Stack.from_array(np.zeros((n_times, n_planes, *size)), "TZYX", ["DNA"], name="image")


def rectangle(x: float, y: float, width: float = 2, height: float = 2, **extra: Any) -> dict:
    corners = [[x, y], [x + width, y], [x + width, y + height], [x, y + height], [x, y]]
    return feature({"type": "Polygon", "coordinates": [corners], **extra})


def feature(geometry: dict[str, Any], **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def write(path: Path, *features: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def painted(path: Path, seen: Stack, t: int = 0, z: int = 0) -> np.ndarray:
    return open_labels(path, seen).label(FieldView.whole(seen, t, z), None)


def test_outlines_are_a_label_image(tmp_path: Path) -> None:
    path = write(tmp_path / "a.geojson", rectangle(1, 0), rectangle(4.6, 2.4, 3, 1.2))
    expected = np.zeros((6, 8), int)
    # Centres of pixels between 4.6 and 7.6, and between 2.4 and 3.6.
    expected[0:2, 1:3], expected[2, 5:8], expected[3, 5:8] = 1, 2, 2
    np.testing.assert_array_equal(painted(path, image()), expected)


def test_the_cells_of_a_run_come_back_as_they_were(tmp_path: Path) -> None:
    labels = many_cells(400)
    write_geojson(cells_of(labels), tmp_path / "a.geojson")
    finder = open_labels(tmp_path / "a.geojson", image(size=labels.shape))
    view = FieldView.whole(image(size=labels.shape))
    np.testing.assert_array_equal(finder.label(view, None), labels)
    assert finder.measure(view).n_cells == 400
    part = view.cut(Part((37, 50), (200, 131), labels.shape))
    np.testing.assert_array_equal(finder.label(part, None), labels[37:200, 50:131])
    assert finder.notes == ()
    assert finder.is_local


def test_one_cell_of_two_parts_is_no_mask(tmp_path: Path) -> None:
    squares = [rectangle(x, 1)["geometry"]["coordinates"] for x in (0, 5)]
    path = write(tmp_path / "a.geojson", feature({"type": "MultiPolygon", "coordinates": squares}))
    assert np.unique(painted(path, image())).tolist() == [0, 1]
    assert open_labels(path, image()).notes == ()


class TestPlanes:
    def test_without_planes_they_serve_all(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.geojson", rectangle(1, 1))
        seen = image(2, 3)
        assert painted(path, seen, 1, 2).max() == 1
        assert "taken for all planes" in open_labels(path, seen).notes[0]

    def test_with_planes_each_is_where_it_says(self, tmp_path: Path) -> None:
        planes = [{"c": -1, "z": z, "t": t} for t, z in ((0, 1), (1, 0))]
        path = write(tmp_path / "a.geojson", *(rectangle(1, 1, plane=one) for one in planes))
        found = {(t, z): painted(path, image(2, 3), t, z).max() for t, z in np.ndindex(2, 3)}
        assert found == {
            (0, 0): 0, (0, 1): 1, (0, 2): 0, (1, 0): 2, (1, 1): 0, (1, 2): 0,
        }  # fmt: skip

    def test_a_plane_that_the_image_lacks_is_refused(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.geojson", rectangle(1, 1, plane={"c": -1, "z": 3, "t": 0}))
        with pytest.raises(InputError, match="time point 0 and plane 3; image has 1 and 3"):
            open_labels(path, image(1, 3))


@pytest.mark.fault("outlines that do not fit their image", "refused, or a note says what was cut")
class TestFit:
    def test_outside_the_image(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.geojson", rectangle(1, 1), rectangle(8, 1), rectangle(0, -9))
        with pytest.raises(InputError, match=r"outside image.*6 x 8.*2 cells \(2, 3\).*full res"):
            open_labels(path, image())

    def test_cut_off_at_the_edge(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.geojson", rectangle(6, 1, 5), rectangle(-0.9, 1))
        assert open_labels(path, image()).notes == (
            "Cut off at the edge of the image: 1 cell (1) of a.geojson.",
        )

    def test_smaller_than_a_pixel(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.geojson", rectangle(1, 1), rectangle(4.1, 4.1, 0.3, 0.3))
        assert "left out: 1 cell (2)" in open_labels(path, image()).notes[0]
        path = write(tmp_path / "b.geojson", rectangle(4.1, 4.1, 0.3, 0.3))
        with pytest.raises(
            InputError, match="no cell that covers the centre of a pixel.*not in um"
        ):
            open_labels(path, image())

    def test_overlapping(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.geojson", rectangle(1, 1, 3, 1), rectangle(2, 1, 4, 1))
        assert painted(path, image())[1].tolist() == [0, 1, 1, 1, 2, 2, 0, 0]
        assert "overlap in 2 pixels" in open_labels(path, image()).notes[0]

    def test_points(self, tmp_path: Path) -> None:
        point = feature({"type": "Point", "coordinates": [2, 2]})
        path = write(tmp_path / "a.geojson", point)
        with pytest.raises(InputError, match="1 points and no outline.*cell table"):
            open_labels(path, image())
        path = write(tmp_path / "b.geojson", point, rectangle(1, 1))
        assert "1 points of b.geojson have no outline" in open_labels(path, image()).notes[0]

    def test_numbers_beyond_those_of_label_images(self, tmp_path: Path) -> None:
        cell = rectangle(1, 1)
        cell["properties"]["name"] = "3000000000"
        with pytest.raises(InputError, match="holds the number 3000000000"):
            open_labels(write(tmp_path / "a.geojson", cell), image())

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="No such file"):
            open_labels(tmp_path / "a.geojson", image())


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "a.geojson", rectangle(1, 1))
    assert painted(path, image()).sum() == 4
    write(path, rectangle(1, 1, 3, 3))
    os.utime(path, ns=(1, 1))
    assert painted(path, image()).sum() == 9


def test_label_images_are_opened_too(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "labels.tif", np.eye(6, 8, dtype=np.uint8) * 5)
    assert painted(tmp_path / "labels.tif", image()).max() == 5


@pytest.mark.parametrize("cut", [False, True])
def test_a_batch_takes_outlines_beside_its_images(
    make_model: Callable[..., CellModel],
    tmp_path: Path,
    cut: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if cut:  # as an image larger than memory
        monkeypatch.setattr("cellcam.stacks.blocks.BLOCK_EDGE", 48)
        monkeypatch.setattr("cellcam.batch.plan.WHOLE_BYTES", 0)
    save_model(make_model(finding={"channel": "DNA", "diameter_um": 7}), tmp_path / "model")
    write_field(tmp_path / "in" / "a.tif", 0)
    (tmp_path / "in" / "qupath").mkdir()
    labels = np.zeros((96, 96), np.uint16)
    labels[30:60, 40:50], labels[5:15, 5:12], labels[70:90, 60:85] = 7, 300, 12
    write_geojson(cells_of(labels), tmp_path / "in" / "qupath" / "a.geojson")
    tifffile.imwrite(tmp_path / "in" / "masks.tif", labels)
    tables = []
    for given in ("qupath/{name}.geojson", "masks.tif"):
        out = tmp_path / f"out{len(tables)}"
        done = run_batch(
            [tmp_path / "in" / "a.tif"], tmp_path / "model", out, labels=given, resources=HERE
        )
        assert done is not None
        assert [outcome.reason for outcome in done.outcomes] == [""]
        tables.append(pd.read_parquet(out / "cells.parquet"))
    assert set(tables[0]["label"]) == {7, 12, 300}
    pd.testing.assert_frame_equal(*tables)
