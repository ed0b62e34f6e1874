"""The same cells from files of microscopes as from a TIFF, in the commands and in a batch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from support.batches import HERE, cellcam, ended, field_of_discs, write_field
from support.microscope_files import write_czi, write_lif, write_nd2, write_svs

from cellcam import CellModel, Request, save_model
from cellcam.batch.run import run_batch
from cellcam.models.normalisation import Normalisation
from cellcam.request import ImageOptions

NAMES = ("DNA", "actin")
COLUMNS = ["label", "y", "x", "class", "probability"]


def write_fields(folder: Path, seed: int) -> None:
    """A field as a CZI, a LIF and an ND2."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.asarray(field_of_discs(seed).data)
    write_czi(folder / "a.czi", [pixels], NAMES, (1.0, 0.5, 0.5))
    write_lif(folder / "b.lif", {"field": pixels}, NAMES, (1.0, 0.5, 0.5))
    write_nd2(folder / "c.nd2", pixels.transpose(0, 2, 1, 3, 4)[:, None], NAMES, (1.0, 0.5))


def test_a_batch_gives_the_cells_of_the_tiff(model: Path, tmp_path: Path) -> None:
    write_fields(tmp_path / "in", 3)
    write_field(tmp_path / "in" / "d.tif", 3)
    done = run_batch([tmp_path / "in"], model, tmp_path / "out", Request(), resources=HERE)
    assert done is not None
    assert [(o.image, o.status) for o in done.outcomes] == [(n, "done") for n in "abcd"]
    cells = pd.read_parquet(tmp_path / "out" / "cells.parquet")
    expected = cells.loc[cells["image"] == "d", COLUMNS].reset_index(drop=True)
    assert len(expected) > 3
    for name in "abc":
        found = cells.loc[cells["image"] == name, COLUMNS].reset_index(drop=True)
        pd.testing.assert_frame_equal(found, expected)
        maps = (tmp_path / "out" / "images" / f"{image}.maps.ome.tif" for image in (name, "d"))
        np.testing.assert_allclose(*map(tifffile.imread, maps), rtol=1e-4)


def test_a_batch_takes_one_image_of_files_of_several(model: Path, tmp_path: Path) -> None:
    fields = [np.asarray(field_of_discs(seed).data) for seed in (1, 2)]
    for name in ("x", "y"):
        (tmp_path / "in").mkdir(exist_ok=True)
        write_czi(tmp_path / "in" / f"{name}.czi", fields, NAMES, (1.0, 0.5, 0.5))
    request = Request(explained=0)
    failed = run_batch([tmp_path / "in"], model, tmp_path / "none", request, resources=HERE)
    assert failed is not None
    assert ["--series" in outcome.reason for outcome in failed.failed] == [True, True]
    second = Request(explained=0, image=ImageOptions(series=1))
    done = run_batch([tmp_path / "in"], model, tmp_path / "out", second, resources=HERE)
    assert done is not None
    write_field(tmp_path / "tiff" / "x.tif", 2)
    run_batch([tmp_path / "tiff"], model, tmp_path / "expected", request, resources=HERE)
    cells, expected = (
        pd.read_parquet(tmp_path / out / "cells.parquet").query("image == 'x'")[COLUMNS]
        for out in ("out", "expected")
    )
    pd.testing.assert_frame_equal(cells.reset_index(drop=True), expected.reset_index(drop=True))


def test_a_czi_in_blocks_gives_the_cells_of_the_whole(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    pixels = np.asarray(field_of_discs(5, (900, 1200), 60).data)
    write_czi(tmp_path / "in" / "a.czi", [pixels], NAMES, (1.0, 0.5, 0.5), tile=128)
    request = Request(explained=0.1)
    run_batch([tmp_path / "in"], model, tmp_path / "whole", request, resources=HERE)
    monkeypatch.setattr("cellcam.stacks.blocks.BLOCK_EDGE", 256)
    monkeypatch.setattr("cellcam.batch.plan.WHOLE_BYTES", 0)
    run_batch([tmp_path / "in"], model, tmp_path / "blocks", request, resources=HERE)
    whole, blocks = (
        pd.read_parquet(tmp_path / out / "cells.parquet")[["y", "x", "class"]]
        for out in ("whole", "blocks")
    )
    columns = ["y", "x"]
    pd.testing.assert_frame_equal(
        blocks.sort_values(columns, ignore_index=True),
        whole.sort_values(columns, ignore_index=True),
    )


@pytest.mark.parametrize("name", ["a.czi", "b.lif", "c.nd2"])
def test_info_and_explain_take_it(model: Path, tmp_path: Path, name: str) -> None:
    write_fields(tmp_path / "in", 3)
    path = tmp_path / "in" / name
    status, said, errors = ended(cellcam("info", path, "--json"))
    assert status == 0, errors
    facts = json.loads(said)
    assert facts["channels"] == "DNA, actin"
    assert facts["shape TCZYX"] == "1 x 2 x 1 x 96 x 96"
    assert facts["pixel size um"].endswith("y 0.5, x 0.5")
    status, said, errors = ended(
        cellcam("explain", path, "--model", model, "--out", tmp_path / "out", "--json")
    )
    assert status == 0, errors
    assert json.loads(said)["cells"] > 3
    assert (tmp_path / "out" / f"{path.stem}.maps.ome.tif").is_file()


def test_a_slide_gives_the_cells_of_the_same_picture(
    make_model: Callable[..., CellModel], tmp_path: Path
) -> None:
    colours = ("red", "green", "blue")
    normalisation = Normalisation(offset=(100,) * 3, scale=(50,) * 3)
    finding = {"channel": "red", "diameter_um": 7}
    save_model(
        make_model(channels=colours, normalisation=normalisation, finding=finding),
        tmp_path / "model",
    )
    pixels = np.asarray(field_of_discs(3, (200, 300), 20).data)[0, :, 0]
    slide = np.clip(np.stack([pixels[0] // 2, pixels[1] // 2, pixels[0] // 3], -1), 0, 255)
    slide = slide.astype(np.uint8)
    (tmp_path / "in").mkdir()
    write_svs(tmp_path / "in" / "a.svs", slide, mpp=0.5)
    tifffile.imwrite(tmp_path / "in" / "b.tif", slide, photometric="rgb", metadata=None)
    request = Request(explained=0.5, image=ImageOptions(pixel_size_um=(0.5, 0.5)))
    done = run_batch([tmp_path / "in"], tmp_path / "model", tmp_path / "out", request,
                     resources=HERE)  # fmt: skip
    assert done is not None
    assert [outcome.status for outcome in done.outcomes] == ["done", "done"]
    cells = pd.read_parquet(tmp_path / "out" / "cells.parquet")
    found, expected = (
        cells.loc[cells["image"] == name, COLUMNS].reset_index(drop=True) for name in "ab"
    )
    assert len(expected) > 5
    pd.testing.assert_frame_equal(found, expected)
    status, said, errors = ended(cellcam("info", tmp_path / "in" / "a.svs"))
    assert status == 0, errors
    assert "y 0.5, x 0.5" in said
