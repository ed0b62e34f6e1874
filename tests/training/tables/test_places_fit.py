"""Places that lie beside the cells, and would lie on them if they were read otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cellcam_training.tables.cell_table import read_cell_table
from cellcam_training.tables.crops import CropSettings, image_opener
from cellcam_training.tables.places_fit import misplaced
from support.cell_tables import write_table

from cellcam.stacks.stack import PixelSize
from cellcam.stacks.writing import write_ome_tiff

SIZE, UM = 240, 0.5


def centres(n: int = 30) -> np.ndarray:
    """Places (N, 2) of cells, (y, x), in the upper left part of a field so that um fit in it."""
    grid = np.stack(np.mgrid[:6, :5], -1).reshape(-1, 2)[:n]
    return grid * [22, 30] + np.random.default_rng(0).uniform(20, 28, (n, 2))


def write_field(folder: Path, dark: bool = False) -> None:
    """Two channels with discs at `centres`, brighter or darker than the field."""
    y, x = np.mgrid[:SIZE, :SIZE]
    inside = np.min([np.hypot(y - cy, x - cx) for cy, cx in centres()], 0) < 6
    level = np.where(inside != dark, 900, 300)
    pixels = np.random.default_rng(1).poisson([level, 0 * level + 200]).astype(np.uint16)
    size = PixelSize(None, UM, UM)
    write_ome_tiff(folder / "a.ome.tif", pixels[None, :, None], ("DNA", "actin"), size)


def warnings(folder: Path, places: np.ndarray, **columns: object) -> tuple[str, ...]:
    y, x = places.T
    cls = np.array(["a", "b"])[np.arange(len(places)) % 2]
    columns = columns or {"x": x, "y": y}
    table = write_table(folder, image="a.ome.tif", cls=cls, **columns)
    cells, settings = read_cell_table(table), CropSettings()
    return misplaced(cells, settings, image_opener(cells, settings))


@pytest.mark.fault(
    "x and y exchanged, counted from the other edge, or in um", "a warning says what would fit"
)
@pytest.mark.parametrize("dark", [False, True])
def test_places_that_would_fit_otherwise_are_said(tmp_path: Path, dark: bool) -> None:
    write_field(tmp_path, dark)
    right = centres()
    wrong = {
        "x and y were exchanged": right[:, ::-1],
        "y counted from the other edge": np.stack([SIZE - 1 - right[:, 0], right[:, 1]], 1),
        "x counted from the other edge": np.stack([right[:, 0], SIZE - 1 - right[:, 1]], 1),
        "in um, not in pixels": right * UM,
    }
    for what, places in wrong.items():
        (warning,) = warnings(tmp_path, places)
        assert what in warning
    (boxes,) = warnings(
        tmp_path, right, xmin=right[:, 0] - 5, ymin=right[:, 1] - 5,
        xmax=right[:, 0] + 6, ymax=right[:, 1] + 6,
    )  # fmt: skip
    assert "exchanged" in boxes


def test_places_on_cells_and_anywhere_have_no_warning(tmp_path: Path) -> None:
    write_field(tmp_path)
    anywhere = np.random.default_rng(0).uniform(0, SIZE - 1, (60, 2))
    for places in (
        centres(),
        centres() + 1,
        centres() + np.array([3, 0]),
        anywhere,
        centres(8)[:, ::-1],
    ):
        assert warnings(tmp_path, places) == ()
