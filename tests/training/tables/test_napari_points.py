"""Points of napari on images of all kinds: the image says what their axes mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cellcam_training.tables.cell_table import CellTable, read_cell_table
from cellcam_training.tables.crops import CropSettings, read_crops
from napari.layers import Points
from napari_builtins.io import napari_write_points

from cellcam import InputError
from cellcam.stacks.writing import write_ome_tiff


def saved(folder: Path, shape: tuple[int, int, int], points: list[list[float]]) -> CellTable:
    """Points as napari saves them, on an image with (T, C, Z) of this shape."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 999, (*shape, 30, 40)).astype(np.uint16)
    write_ome_tiff(folder / "image.ome.tif", pixels, [f"stain {i}" for i in range(shape[1])])
    names = (["a", "b"] * len(points))[: len(points)]
    data, metadata, _ = Points(points, features={"cls": names}).as_layer_data_tuple()
    path = napari_write_points(str(folder / "points.csv"), data, metadata)
    return read_cell_table(Path(path), image=folder / "image.ome.tif", to_train=False)


@pytest.mark.fault(
    "napari's points of a movie", "Their first axis is time, as the image has it, not depth"
)
def test_the_first_axis_is_time_on_a_movie(folder: Path) -> None:
    table = saved(folder, (5, 1, 1), [[4, 10, 20], [0, 12, 30]])
    assert table.rows[["t", "y", "x"]].to_numpy().tolist() == [[4, 10, 20], [0, 12, 30]]
    assert "z" not in table.rows
    assert "taken for time (t)" in table.notes[0]
    movie = np.random.default_rng(0).integers(0, 999, (5, 1, 1, 30, 40)).astype(np.uint16)
    crops = read_crops(table, CropSettings((5, 5))).pixels
    np.testing.assert_array_equal(crops[0], movie[4, :, 0, 8:13, 18:23])


@pytest.mark.parametrize(
    ("shape", "points", "expected"),
    [
        ((1, 2, 4), [[3, 10, 20], [0, 12, 30]], {"z": [3, 0]}),
        ((3, 1, 4), [[2, 3, 10, 20], [0, 1, 12, 30]], {"t": [2, 0], "z": [3, 1]}),
        ((1, 1, 4), [[0, 3, 10, 20], [0, 1, 12, 30]], {"z": [3, 1]}),
        ((3, 1, 1), [[2, 0, 10, 20], [1, 0, 12, 30]], {"t": [2, 1]}),
        ((1, 1, 1), [[0, 10, 20], [0, 12, 30]], {}),
        ((1, 2, 1), [[1, 10, 20], [0, 12, 30]], {}),  # an axis of channels
        ((1, 1, 1), [[10, 20], [12, 30]], {}),
    ],
)
def test_the_image_says_what_an_axis_means(
    folder: Path,
    shape: tuple[int, int, int],
    points: list[list[float]],
    expected: dict[str, list[int]],
) -> None:
    table = saved(folder, shape, points)
    found = {name: table.rows[name].tolist() for name in ("t", "z") if name in table.rows}
    assert found == expected
    assert table.rows[["y", "x"]].to_numpy().tolist() == [point[-2:] for point in points]


@pytest.mark.fault(
    "napari's points whose axes the image leaves open", "Refused; the columns to rename are named"
)
@pytest.mark.parametrize(
    ("shape", "point"),
    [((3, 1, 4), [2, 10, 20]), ((3, 2, 1), [2, 1, 10, 20]), ((1, 1, 1), [2, 10, 20])],
)
def test_open_axes_are_refused_with_the_way_out(
    folder: Path, shape: tuple[int, int, int], point: list[float]
) -> None:
    with pytest.raises(InputError, match="Rename the columns axis-0"):
        saved(folder, shape, [point])


@pytest.mark.fault(
    "A table without t on a movie, or without z on a z-stack",
    "Refused; the first frame is not taken silently",
)
@pytest.mark.parametrize(
    ("shape", "column"), [((3, 1, 1), "a column t"), ((1, 1, 4), "a column z")]
)
def test_a_missing_frame_or_plane_is_not_taken_for_the_first(
    folder: Path, shape: tuple[int, int, int], column: str
) -> None:
    table = saved(folder, shape, [[10, 20], [12, 30]])
    with pytest.raises(InputError, match=column):
        read_crops(table, CropSettings((5, 5)))


def test_points_without_rows_are_refused(folder: Path) -> None:
    path = folder / "points.csv"
    path.write_text("image,axis-0,axis-1,axis-2,cls\n", "utf-8")
    with pytest.raises(InputError, match="No row of the points names its image"):
        read_cell_table(path)
