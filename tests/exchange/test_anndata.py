from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import read_h5ad

from cellcam import InputError
from cellcam.errors import UsageError
from cellcam.exchange.anndata import export_anndata


def a_run(folder: Path, x_um: list[float]) -> Path:
    cells = pd.DataFrame(
        {
            "image": ["a", "b"],
            "label": [1, 7],
            "y": [3.0, 4.0],
            "x": [5.0, 6.0],
            "y_um": [1.5, 2.0],
            "x_um": x_um,
            "class": ["G1", "M"],
            "p_G1": [0.9, 0.2],
            "p_M": [0.1, 0.8],
            "share_DNA": [1.0, -2.0],
            "inside": [0.5, np.nan],
            "flags": ["", "edge"],
        }
    )
    cells.to_parquet(folder / "cells.parquet")
    (folder / "run.json").write_text('{"cells": 2}', "utf-8")
    return folder


def test_measured_columns_are_values_and_the_others_observations(tmp_path: Path) -> None:
    export_anndata(a_run(tmp_path, [2.5, 3.0]), tmp_path / "cells.h5ad")
    found = read_h5ad(tmp_path / "cells.h5ad")
    assert found.var_names.tolist() == ["p_G1", "p_M", "share_DNA", "inside"]
    np.testing.assert_allclose(found.X[1, :3], [0.2, 0.8, -2], rtol=1e-6)
    assert found.obs["class"].tolist() == ["G1", "M"]
    assert found.obs["label"].tolist() == [1, 7]
    np.testing.assert_array_equal(found.obsm["spatial"], [[2.5, 1.5], [3.0, 2.0]])
    assert found.uns["cellcam"]["spatial_unit"] == "um"
    assert json.loads(found.uns["cellcam"]["run"]) == {"cells": 2}
    assert not list(tmp_path.glob(".*"))


def test_places_are_pixels_where_a_size_is_unknown(tmp_path: Path) -> None:
    export_anndata(a_run(tmp_path, [2.5, np.nan]), tmp_path / "cells.h5ad")
    found = read_h5ad(tmp_path / "cells.h5ad")
    assert found.uns["cellcam"]["spatial_unit"] == "px"
    np.testing.assert_array_equal(found.obsm["spatial"], [[5, 3], [6, 4]])


def test_a_missing_table_or_package_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="no cells.parquet"):
        export_anndata(tmp_path, tmp_path / "cells.h5ad")
    a_run(tmp_path, [1, 2])
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(UsageError, match=r"cellcam\[anndata\]"):
        export_anndata(tmp_path, tmp_path / "cells.h5ad")
