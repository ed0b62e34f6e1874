"""What is missing in an image counts as no data all the way to tables and maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from support.batches import HERE, field_of_discs, write_field
from support.ome_files import image_xml, ome, tiff_data, without_tile, write_planes

from cellcam import ImageOptions, Request
from cellcam.batch.run import run_batch

TOLERANT = Request(image=ImageOptions(tolerate_missing=True))


def discs(seed: int) -> np.ndarray:
    """(C, Y, X) pixels that the model fits."""
    return np.asarray(field_of_discs(seed).data)[0, :, 0]


@pytest.mark.fault(
    "a time point in the middle of a movie is missing", "it has no cells; the others keep their t"
)
def test_a_time_point_without_data_has_no_cells(model: Path, tmp_path: Path) -> None:
    planes = "".join(
        tiff_data(2 * i + c, 1, (t, c, 0)) for i, t in enumerate((0, 2)) for c in range(2)
    ) + tiff_data(99, 1, (1, 0, 0))
    xml = ome(image_xml(0, (3, 2, 1, 96, 96), planes, channels=["DNA", "actin"]))
    (tmp_path / "in").mkdir()
    write_planes(tmp_path / "in" / "a.ome.tif", np.concatenate([discs(0), discs(2)]), xml)
    done = run_batch([tmp_path / "in"], model, tmp_path / "out", TOLERANT, resources=HERE)
    assert done is not None
    assert not done.failed
    assert set(pd.read_csv(tmp_path / "out" / "cells.csv")["t"]) == {0, 2}
    maps = tifffile.imread(tmp_path / "out" / "images" / "a.maps.ome.tif")
    assert maps.shape[0] == 3
    assert np.isfinite(maps).all()
    assert not maps[1].any()


@pytest.mark.fault("a tile of one channel is missing", "no cells there; cells elsewhere unchanged")
def test_cells_beside_a_missing_tile_are_found_as_before(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "in" / "a.tif"
    write_field(path, 3)
    named = {"axes": "CYX", "Channel": {"Name": ["DNA", "actin"]}}
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(
        path, discs(3), tile=(32, 32), compression="zlib", photometric="minisblack", ome=True,
        metadata={**named, **sizes},
    )  # fmt: skip
    run_batch([tmp_path / "in"], model, tmp_path / "whole", TOLERANT, resources=HERE)
    without_tile(path, 1, 4)  # the middle of actin
    done = run_batch([tmp_path / "in"], model, tmp_path / "out", TOLERANT, resources=HERE)
    assert done is not None
    assert not done.failed
    assert "1 of 18 tiles" in done.outcomes[0].notes[0]
    whole, cells = (pd.read_csv(tmp_path / out / "cells.csv") for out in ("whole", "out"))
    centre = cells[["y", "x"]]
    assert not ((centre > 36) & (centre < 60)).all(axis=1).any()
    far = [((t[["y", "x"]] - 48).abs().max(axis=1) > 30) for t in (whole, cells)]
    assert len(whole[far[0]]) == len(cells[far[1]]) > 0
    maps = tifffile.imread(tmp_path / "out" / "images" / "a.maps.ome.tif")
    assert np.isfinite(maps).all()
