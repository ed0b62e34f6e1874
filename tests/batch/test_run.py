"""A folder to one result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from support.batches import HERE, PIXEL, cellcam, ended, write_field

from cellcam import CellModel, Request, explain_field, load_model, open_stack, save_model
from cellcam.batch.merge import BatchResult
from cellcam.batch.run import run_batch
from cellcam.stacks.writing import write_ome_tiff

Make = Callable[..., CellModel]


def test_every_image_is_worked_on_as_explain_does(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    done = run_batch([folder], model, tmp_path / "out", resources=HERE)
    assert isinstance(done, BatchResult)
    assert not done.failed
    cells = pd.read_parquet(tmp_path / "out" / "cells.parquet")
    for name, rows in cells.groupby("image"):
        stack = open_stack(folder / f"{name}.tif")
        expected = explain_field(stack, load_model(model, "cpu"))
        assert rows["label"].tolist() == expected.cells["label"].tolist()
        np.testing.assert_allclose(rows["p_S"], expected.cells["p_S"], rtol=1e-4)
        maps = open_stack(tmp_path / "out" / "images" / f"{name}.maps.ome.tif")
        np.testing.assert_allclose(maps.data[0, :, 0], expected.maps, rtol=0.02, atol=1e-5)
    assert done.cells == len(cells) == len(pd.read_csv(tmp_path / "out" / "cells.csv"))
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (run["images"], run["failed"], run["cells"]) == (8, 0, len(cells))


def test_images_are_counted_and_results_named_as_the_folder_was(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, int, str]] = []
    monkeypatch.chdir(tmp_path)
    out, request = Path("here/../out"), Request(explained=0)
    (tmp_path / "here").mkdir()
    report = lambda *call: calls.append(call)  # noqa: E731
    done = run_batch([folder], model, out, request, resources=HERE, progress=report)
    assert done is not None
    # Small images are worked on in groups.
    assert calls[-2] == (8, 8, f"{done.cells} cells")
    assert (calls[0], calls[-1]) == ((0, 0, "starting"), (0, 0, "writing tables and report"))
    assert out / "cells.csv" in done.written
    assert all(path.is_relative_to(out) and path.is_file() for path in done.written)


def test_names_give_plate_well_and_site(folder: Path, model: Path, tmp_path: Path) -> None:
    run_batch([folder], model, tmp_path / "out", Request(explained=0), resources=HERE)
    images = pd.read_csv(tmp_path / "out" / "images.csv")
    first = images.set_index("image").loc["plate0/x_B01_s0"]
    assert first[["Metadata_Plate", "Metadata_Well", "Metadata_Site"]].tolist() == [
        "plate0", "B01", "s0",
    ]  # fmt: skip
    cells = pd.read_parquet(tmp_path / "out" / "cells.parquet")
    assert set(cells["Metadata_Well"]) <= {f"B0{i}" for i in range(1, 9)}
    pattern = r"x_(?P<Row>[A-P])(?P<Column>\d\d)"
    run_batch(
        [folder], model, tmp_path / "out", Request(explained=0), resources=HERE, pattern=pattern
    )
    cells = pd.read_csv(tmp_path / "out" / "cells.csv")
    assert cells.columns[:3].tolist() == ["image", "Metadata_Row", "Metadata_Column"]


@pytest.mark.fault(
    "damaged, empty, foreign and formula-named files in a folder of good images",
    "a row with a reason each; the good ones are done",
)
def test_bad_images_are_rows_with_reasons_and_stop_nothing(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    good = (folder / "plate0" / "x_B01_s0.tif").read_bytes()
    (folder / "cut.tif").write_bytes(good[: len(good) // 2])
    (folder / "empty.tif").write_bytes(b"")
    (folder / "text.tif").write_text("no image")
    tifffile.imwrite(folder / "grey.tif", np.zeros((20, 20), np.uint8))
    damaged = bytearray(good)
    damaged[400:1400] = bytes(1000)
    (folder / "=damaged.tif").write_bytes(damaged)
    done = run_batch([folder], model, tmp_path / "out", resources=HERE)
    assert done is not None
    reasons = {outcome.image: outcome.reason for outcome in done.failed}
    assert set(reasons) == {"cut", "empty", "text", "grey", "=damaged"}
    assert all(reasons.values())
    assert "wants the channels DNA, actin" in reasons["grey"]
    images = pd.read_csv(tmp_path / "out" / "images.csv")
    assert (images["status"] == "done").sum() == 8
    assert len(images) == 13


@pytest.mark.fault("14 an image without cells in a batch", "done, with 0 cells")
def test_a_field_without_cells_is_done(model: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).poisson(100, (1, 2, 1, 64, 64)).astype(np.uint16)
    (tmp_path / "in").mkdir()
    write_ome_tiff(tmp_path / "in" / "a.tif", noise, ["DNA", "actin"], PIXEL)
    done = run_batch([tmp_path / "in"], model, tmp_path / "out", resources=HERE)
    assert done is not None
    assert [(outcome.status, outcome.cells) for outcome in done.outcomes] == [("done", 0)]
    assert "p_S" in pd.read_parquet(tmp_path / "out" / "cells.parquet")


@pytest.mark.fault("two images of one name from two folders", "two results")
def test_equal_names_keep_their_results_apart(model: Path, tmp_path: Path) -> None:
    for i in range(2):
        write_field(tmp_path / f"in{i}" / "a.tif", i)
    done = run_batch([tmp_path / "in0", tmp_path / "in1"], model, tmp_path / "out", resources=HERE)
    assert done is not None
    names = {outcome.image for outcome in done.outcomes}
    assert len(names) == 2
    assert all((tmp_path / "out/images" / f"{n}.maps.ome.tif").is_file() for n in names)


def test_label_images_are_no_inputs_and_keep_their_numbers(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    labels = np.zeros((96, 96), np.uint16)
    labels[10:20, 10:20], labels[50:60, 40:50] = 7, 300
    for path in list(folder.rglob("*.tif")):
        (path.parent / "masks").mkdir(exist_ok=True)
        tifffile.imwrite(path.parent / "masks" / path.name, labels)
    done = run_batch(
        [folder], model, tmp_path / "out", Request(explained=0), resources=HERE,
        labels="masks/{name}.tif",
    )  # fmt: skip
    assert done is not None
    assert len(done.outcomes) == 8
    cells = pd.read_parquet(tmp_path / "out" / "cells.parquet")
    assert cells["label"].tolist() == [7, 300] * 8


@pytest.mark.fault(
    "60 TIFF dialects, some damaged, in one run",
    "each done or refused with a reason; nothing written elsewhere",
)
def test_all_files_of_the_collection_in_one_run(
    shared_data: Path, make_model: Make, tmp_path: Path
) -> None:
    normalisation = {"offset": [0], "scale": [100]}
    save_model(make_model(channels=("H2B",), normalisation=normalisation), tmp_path / "model")
    (tmp_path / "temporary").mkdir()
    run = cellcam(
        "batch", shared_data / "tiff_zoo", "--model", tmp_path / "model", "--out", "out",
        "--explain", 0, "--scheduler", "sync", "--device", "cpu", "--quiet",
        cwd=tmp_path, env={"TMPDIR": str(tmp_path / "temporary")},
    )  # fmt: skip
    code, _, stderr = ended(run)
    assert code == 2, stderr
    images = pd.read_csv(tmp_path / "out" / "images.csv", keep_default_na=False)
    assert len(images) == len(list((shared_data / "tiff_zoo").rglob("*.tif*")))
    assert set(images["status"]) == {"done", "refused"}
    assert (images.loc[images["status"] != "done", "reason"] != "").all()
    assert (images["status"] == "done").sum() > 40
    assert pd.to_numeric(images["cells"]).sum() > 1000
    assert {path.name for path in tmp_path.iterdir()} == {"model", "out", "temporary"}
    assert not list((tmp_path / "temporary").iterdir())
