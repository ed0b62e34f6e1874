"""A multi-position set of OME-TIFF goes through train, explain and batch, as people run them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.batches import cellcam, ended
from support.ome_files import write_positions


def write_set(folder: Path) -> pd.DataFrame:
    """Three positions with large and small discs on a grid; boxes and classes of the discs."""
    random = np.random.default_rng(0)
    positions, rows = [], []
    y, x = np.mgrid[:150, :150]
    for i in range(3):
        pixels = np.full((150, 150), 100.0)
        for cy, cx in np.ndindex(3, 3):
            place, large = (25 + 50 * cy, 25 + 50 * cx), (cy + cx + i) % 2 == 0
            pixels[np.hypot(y - place[0], x - place[1]) < (11 if large else 6)] = 500
            box = (place[1] - 16, place[0] - 16, place[1] + 16, place[0] + 16)
            rows.append((f"set/pos{i}.ome.tif", *box, "large" if large else "small", f"p{i}"))
        positions.append(random.poisson(pixels).astype(np.uint16)[None, None, None])
    write_positions(folder, positions, kind="companion")
    columns = ["image", "xmin", "ymin", "xmax", "ymax", "cls", "group"]
    return pd.DataFrame(rows, columns=columns)


@pytest.mark.fault(
    "a multi-position set in train, explain and batch", "each position by itself in all three"
)
def test_a_set_is_trained_on_explained_and_run_as_a_batch(tmp_path: Path) -> None:
    write_set(tmp_path / "set").to_csv(tmp_path / "cells.csv", index=False)
    (tmp_path / "recipe.yaml").write_text("epochs: 1\n")
    commands = [
        "train cells.csv --out model --group-column group --recipe recipe.yaml --device cpu",
        "explain set/pos1.ome.tif --model model --out one --find-channel DNA --device cpu",
        "batch set --model model --out all --find-channel DNA --device cpu --scheduler sync",
    ]
    for command in commands:
        status, _, stderr = ended(cellcam(*command.split(), cwd=tmp_path))
        assert status == 0, stderr
    images = pd.read_csv(tmp_path / "all" / "images.csv")
    assert images["image"].tolist() == ["pos0", "pos1", "pos2"]
    cells = pd.read_csv(tmp_path / "all" / "cells.csv")
    assert (cells.groupby("image").size() == 9).all()
    alone = pd.read_csv(tmp_path / "one" / "pos1.cells.csv")
    together = cells[cells["image"] == "pos1"]
    np.testing.assert_allclose(alone[["y", "x"]], together[["y", "x"]])
    # The positions differ in which discs are large.
    areas = cells.pivot(index="label", columns="image", values="area")
    assert not np.allclose(areas["pos0"], areas["pos1"], rtol=0.3)
