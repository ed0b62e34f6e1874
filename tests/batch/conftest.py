"""A model folder and a folder of eight small images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.batches import write_field

from cellcam import CellModel, save_model


@pytest.fixture
def model(make_model: Callable[..., CellModel], tmp_path: Path) -> Path:
    finding = {"channel": "DNA", "diameter_um": 7}
    save_model(make_model(finding=finding), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(8):
        write_field(tmp_path / "images" / f"plate{i % 2}" / f"x_B0{i + 1}_s{i % 3}.tif", i)
    return tmp_path / "images"
