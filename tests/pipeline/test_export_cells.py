"""Cells of runs for other programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.batches import HERE, PIXEL, write_field

from cellcam import CellModel, InputError, Request, Stack, ThresholdFinder, open_stack, save_model
from cellcam.batch.run import run_batch
from cellcam.errors import UsageError
from cellcam.exchange.qupath import read_geojson
from cellcam.exchange.spans import spans_of
from cellcam.pipeline import run_cells
from cellcam.pipeline.explain_stack import explain_stack
from cellcam.pipeline.export_cells import check_image_target, export_cells
from cellcam.reporting.colours import class_colours
from cellcam.stacks.writing import write_ome_tiff, write_table

Make = Callable[..., CellModel]
IN_DNA = Request(finder=ThresholdFinder("DNA", diameter_um=6))


def painted(path: Path, shape: tuple[int, int], plane: tuple[int, int] = (-1, -1)) -> np.ndarray:
    cells = read_geojson(path)
    here = (cells.planes == plane).all(axis=1)
    outlines = [one for one, is_here in zip(cells.outlines, here, strict=True) if is_here]
    return spans_of(outlines, cells.numbers[here], shape).paint(0, shape[0], 0, shape[1])


def labels_of(path: Path) -> np.ndarray:
    return np.asarray(open_stack(path).data)[:, 0]


def test_the_cells_of_an_image_with_calls_and_figures(
    stack: Stack, make_model: Make, tmp_path: Path
) -> None:
    done = explain_stack(stack, make_model(), tmp_path, IN_DNA)
    exported = export_cells(tmp_path, tmp_path / "cells.geojson")
    assert exported.written == (tmp_path / "cells.geojson",)
    assert (exported.cells, exported.notes) == (2, ())
    cells = read_geojson(tmp_path / "cells.geojson")
    assert cells.numbers.tolist() == done.cells["label"].tolist()
    assert list(cells.classes) == done.cells["class"].tolist()
    called = set(cells.classes)
    assert {n: c.upper() for n, c in cells.colours.items()} == {
        name: colour for name, colour in class_colours(["G1", "S", "M"]).items() if name in called
    }
    for name in ("area", "probability", "p_G1", "share_actin", "inside", "unlike"):
        column = done.cells[name].to_numpy(float)
        if np.isfinite(column).any():
            np.testing.assert_allclose(cells.measurements[name], column)
    assert cells.remarks == {}  # no flags here, and an untrained model has no hash
    expected = labels_of(tmp_path / "two_discs.labels.ome.tif")[0, 0]
    np.testing.assert_array_equal(painted(exported.written[0], (40, 60)), expected)
    # Centroids of cell tables are those of pixels' centres, here from the image's corner.
    np.testing.assert_allclose(cells.centres[:, 0], done.cells["x"] + 0.5)


def test_planes_and_time_points(stack: Stack, make_model: Make, tmp_path: Path) -> None:
    frame = np.asarray(stack.data)[0]
    pixels = np.stack([frame, frame[..., ::-1]]).repeat(3, axis=2)
    movie = Stack.from_array(pixels, "TCZYX", stack.channels, stack.pixel_size_um, "movie")
    explain_stack(movie, make_model(), tmp_path, IN_DNA)
    export_cells(tmp_path, tmp_path / "cells.geojson")
    labels = labels_of(tmp_path / "movie.labels.ome.tif")
    for t, z in np.ndindex(2, 3):
        found = painted(tmp_path / "cells.geojson", (40, 60), (t, z))
        np.testing.assert_array_equal(found, labels[t, z])


def test_a_chosen_plane_keeps_its_number(stack: Stack, make_model: Make, tmp_path: Path) -> None:
    pixels = np.asarray(stack.data)[0].repeat(3, axis=1)
    planes = Stack.from_array(pixels, "CZYX", stack.channels, stack.pixel_size_um, "planes")
    request = Request(finder=ThresholdFinder("DNA", diameter_um=6), z=2)
    explain_stack(planes, make_model(), tmp_path, request)
    export_cells(tmp_path, tmp_path / "cells.geojson")
    assert read_geojson(tmp_path / "cells.geojson").planes.tolist() == [[0, 2]] * 2


def test_a_cell_of_a_volume_is_outlined_on_each_plane(tmp_path: Path, stack: Stack) -> None:
    labels = np.zeros((1, 1, 3, 6, 8), np.uint16)
    labels[0, 0, 1:, 1:3, 2:5] = 4
    labels[0, 0, 2, 5, 7] = 9
    write_ome_tiff(tmp_path / "v.labels.ome.tif", labels, ["cells"], PIXEL)
    boxes = ["1,1,2,3,3,5", "2,5,7,3,6,8"]
    table = pd.DataFrame(
        {"image": "v", "t": 0, "z": "volume", "label": [4, 9], "y": [1.5, 5], "x": [3.0, 7],
         "bbox": boxes, "class": ["G1", None], "p_G1": [0.9, np.nan]}
    )  # fmt: skip
    write_table(tmp_path / "v.cells", table)
    export_cells(tmp_path, tmp_path / "cells.geojson")
    cells = read_geojson(tmp_path / "cells.geojson")
    assert cells.numbers.tolist() == [4, 4, 9]
    assert cells.planes.tolist() == [[0, 1], [0, 2], [0, 2]]
    assert cells.classes == ("G1", "G1", "")
    for z in range(3):
        found = painted(tmp_path / "cells.geojson", (6, 8), (0, z))
        np.testing.assert_array_equal(found, labels[0, 0, z])


def test_large_fields_are_traced_in_squares(
    stack: Stack, make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explain_stack(stack, make_model(), tmp_path, IN_DNA)
    whole = export_cells(tmp_path, tmp_path / "whole.geojson").written[0]
    monkeypatch.setattr(run_cells, "_SQUARE", 13)
    parts = export_cells(tmp_path, tmp_path / "parts.geojson").written[0]
    np.testing.assert_array_equal(painted(parts, (40, 60)), painted(whole, (40, 60)))
    assert read_geojson(parts).ids == read_geojson(whole).ids


def test_each_image_of_a_batch_has_its_file(make_model: Make, tmp_path: Path) -> None:
    save_model(make_model(finding={"channel": "DNA", "diameter_um": 7}), tmp_path / "model")
    for i in range(2):
        write_field(tmp_path / "images" / f"plate{i}" / "x_B01_s1.tif", i)
    out = tmp_path / "out"
    run_batch([tmp_path / "images"], tmp_path / "model", out, resources=HERE)
    with pytest.raises(UsageError, match=r"2 images.*Write \{name\}.*\{name\}.geojson"):
        export_cells(out, tmp_path / "cells.geojson")
    exported = export_cells(out, tmp_path / "qupath" / "{name}.geojson")
    merged = pd.read_parquet(out / "cells.parquet")
    assert exported.cells == len(merged)
    for name in ("plate0/x_B01_s1", "plate1/x_B01_s1"):
        path = tmp_path / "qupath" / f"{name}.geojson"
        assert path in exported.written
        labels = labels_of(out / "images" / f"{name}.labels.ome.tif")[0, 0]
        np.testing.assert_array_equal(painted(path, labels.shape), labels)
        here = merged[merged["image"] == name]
        assert list(read_geojson(path).classes) == here["class"].tolist()


def test_without_a_label_image_cells_are_points(
    stack: Stack, make_model: Make, tmp_path: Path
) -> None:
    done = explain_stack(stack, make_model(), tmp_path, IN_DNA)
    (tmp_path / "two_discs.labels.ome.tif").unlink()
    exported = export_cells(tmp_path, tmp_path / "cells.geojson")
    assert "written as points" in exported.notes[0]
    cells = read_geojson(tmp_path / "cells.geojson")
    np.testing.assert_allclose(cells.centres, done.cells[["x", "y"]] + 0.5)
    assert cells.outlines == ([], [])


@pytest.mark.fault("a run that names images outside its folder", "refused: nothing is written")
@pytest.mark.parametrize("name", ["../a", "b/../../a", "/a"])
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "images.csv").write_text("")
    pd.DataFrame({"image": [name]}).to_parquet(tmp_path / "run" / "cells.parquet")
    with pytest.raises(InputError, match="names an image outside its folder"):
        export_cells(tmp_path / "run", tmp_path / "{name}.geojson")


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no cells"):
        export_cells(tmp_path, tmp_path / "cells.geojson")
    with pytest.raises(UsageError, match=r"cannot be written as .docx.*\.geojson"):
        export_cells(tmp_path, tmp_path / "cells.docx")


@pytest.mark.fault(
    "export to an ending of no format, or of a file", "refused, with what can be written"
)
def test_targets_and_sources_that_are_none_are_refused(tmp_path: Path) -> None:
    check_image_target(tmp_path, Path("a.ome.TIF"))
    for target in ("a.foo", "a"):
        with pytest.raises(UsageError, match=r"\.ome\.tif; of the cells of a run: \.geojson"):
            check_image_target(tmp_path, Path(target))
    with pytest.raises(UsageError, match=r"none is no folder"):
        check_image_target(tmp_path / "none", Path("a.tif"))
