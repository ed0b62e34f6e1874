"""SpatialData and squidpy open what is written."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cellcam import CellModel, Request, Stack, ThresholdFinder
from cellcam.errors import UsageError
from cellcam.pipeline.explain_stack import explain_stack
from cellcam.pipeline.export_spatialdata import export_spatialdata
from cellcam.stacks.stack import PixelSize

pytestmark = pytest.mark.filterwarnings("ignore")  # of what spatialdata imports
WHY = "needs spatialdata: pip install 'cellcam[spatialdata]'"


@pytest.fixture
def spatialdata() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield pytest.importorskip("spatialdata", reason=WHY)


@pytest.fixture
def run(stack: Stack, make_model: Callable[..., CellModel], tmp_path: Path) -> Path:
    request = Request(finder=ThresholdFinder("DNA", diameter_um=6), explained=0.0)
    explain_stack(stack, make_model(), tmp_path / "run", request)
    return tmp_path / "run"


def test_labels_and_table_come_back(spatialdata: Any, run: Path, tmp_path: Path) -> None:
    assert export_spatialdata(run, tmp_path / "cells.zarr") == ()
    data = spatialdata.read_zarr(tmp_path / "cells.zarr")
    table = data.tables["cells"]
    cells = pd.read_parquet(next(run.glob("*.cells.parquet")))
    assert table.obs["label"].tolist() == cells["label"].tolist()
    assert table.obs["class"].astype(str).tolist() == cells["class"].astype(str).tolist()
    probabilities = [name for name in cells if name.startswith("p_")]
    np.testing.assert_allclose(table[:, probabilities].X, cells[probabilities].to_numpy(np.float32))
    (name,) = data.labels
    labels = np.asarray(data.labels[name])
    assert sorted(set(np.unique(labels)) - {0}) == sorted(cells["label"])
    # The middle of a label, in the coordinates of the element, is the place in the table.
    first = cells.iloc[0]
    y, x = np.argwhere(labels == first["label"]).mean(0)
    scale = spatialdata.transformations.get_transformation(data.labels[name])
    to_um = scale.to_affine_matrix(("x", "y"), ("x", "y"))[:2, :2]
    np.testing.assert_allclose(to_um @ [x, y], first[["x_um", "y_um"]].astype(float), rtol=0.02)
    assert not list(tmp_path.glob(".*"))


def test_the_table_is_joined_to_the_labels(spatialdata: Any, run: Path, tmp_path: Path) -> None:
    export_spatialdata(run, tmp_path / "cells.zarr")
    data = spatialdata.read_zarr(tmp_path / "cells.zarr")
    (name,) = data.labels
    elements, joined = spatialdata.join_spatialelement_table(
        data, spatial_element_names=name, table_name="cells", how="left"
    )
    assert len(joined) == len(data.tables["cells"]) > 1
    assert set(elements) == {name}


def test_each_field_is_an_element(
    spatialdata: Any, stack: Stack, make_model: Callable[..., CellModel], tmp_path: Path
) -> None:
    """Two planes, the second mirrored: cells are on the labels of their own plane."""
    pixels = np.asarray(stack.data)[:, :, 0]
    planes = np.stack([pixels, pixels[..., ::-1]], axis=2)
    deep = Stack.from_array(planes, "TCZYX", stack.channels, PixelSize(2.0, 0.5, 0.5), "two planes")
    finder = ThresholdFinder("DNA", diameter_um=6)
    request = Request(finder=finder, z="each", explained=0.0)
    explain_stack(deep, make_model(), tmp_path / "run", request)
    export_spatialdata(tmp_path / "run", tmp_path / "cells.zarr")
    data = spatialdata.read_zarr(tmp_path / "cells.zarr")
    assert set(data.labels) == {"two_planes_z0", "two_planes_z1"}
    rows = data.tables["cells"].obs
    for _, cell in rows.iterrows():
        labels = np.asarray(data.labels[str(cell["region"])])
        assert labels[round(cell["y"]), round(cell["x"])] == cell["label"]
        assert str(cell["region"]).endswith(str(cell["z"]))


def test_squidpy_finds_neighbours(spatialdata: Any, run: Path, tmp_path: Path) -> None:
    squidpy = pytest.importorskip("squidpy", reason="needs squidpy: pip install squidpy")
    export_spatialdata(run, tmp_path / "cells.zarr")
    table = spatialdata.read_zarr(tmp_path / "cells.zarr").tables["cells"]
    squidpy.gr.spatial_neighbors(table, coord_type="generic", n_neighs=1)
    assert table.obsp["spatial_connectivities"].shape == (len(table), len(table))


def test_a_missing_package_is_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "spatialdata", None)
    with pytest.raises(UsageError, match=r"cellcam\[spatialdata\]"):
        export_spatialdata(run, tmp_path / "cells.zarr")
