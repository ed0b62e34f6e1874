"""What lies in the folder of the results stays, or is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.batches import HERE, write_field

from cellcam import CellModel, Request, Stack, ThresholdFinder, open_stack, save_model
from cellcam.batch.run import run_batch
from cellcam.errors import UsageError
from cellcam.pipeline.explain_stack import explain_stack

Make = Callable[..., CellModel]
IN_DNA = Request(finder=ThresholdFinder("DNA", diameter_um=6))


@pytest.mark.fault(
    "two images explained into one folder", "both results and both run.json are there"
)
def test_the_run_of_another_image_keeps_its_description(make_model: Make, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for i, name in enumerate(("a", "b", "c")):
        write_field(tmp_path / f"{name}.tif", i)
        explain_stack(open_stack(tmp_path / f"{name}.tif"), make_model(), out, IN_DNA)
    for name, path in {"a": "a.run.json", "b": "b.run.json", "c": "run.json"}.items():
        run = json.loads((out / path).read_text())
        assert run["image"] == str(tmp_path / f"{name}.tif")
        assert (out / f"{name}.cells.parquet").is_file()
    # The same image again replaces its own results, and no description is lost.
    explain_stack(open_stack(tmp_path / "a.tif"), make_model(), out, IN_DNA)
    assert json.loads((out / "run.json").read_text())["name"] == "a"
    assert json.loads((out / "c.run.json").read_text())["name"] == "c"


@pytest.mark.fault(
    "another image of the same name explained into one folder",
    "refused before anything is computed; the first result stays",
)
@pytest.mark.parametrize("between", [False, True])
def test_another_image_of_the_same_name_is_refused(
    make_model: Make, tmp_path: Path, between: bool
) -> None:
    out = tmp_path / "out"
    for folder, seed in (("plate1", 0), ("plate2", 1)):
        write_field(tmp_path / folder / "a.tif", seed)
    write_field(tmp_path / "b.tif", 2)
    explain_stack(open_stack(tmp_path / "plate1/a.tif"), make_model(), out, IN_DNA)
    if between:
        explain_stack(open_stack(tmp_path / "b.tif"), make_model(), out, IN_DNA)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(UsageError, match=r"another image with this name.*plate1.*--out"):
        explain_stack(open_stack(tmp_path / "plate2/a.tif"), make_model(), out, IN_DNA)
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.fault("a single image explained into the folder of a batch", "refused, with --out")
def test_the_folder_of_a_batch_is_refused(make_model: Make, tmp_path: Path) -> None:
    save_model(make_model(), tmp_path / "model")
    write_field(tmp_path / "in" / "a.tif", 0)
    run_batch([tmp_path / "in"], tmp_path / "model", tmp_path / "out", IN_DNA, resources=HERE)
    with pytest.raises(UsageError, match=r"results of a batch.*--out"):
        explain_stack(open_stack(tmp_path / "in/a.tif"), make_model(), tmp_path / "out", IN_DNA)


@pytest.mark.fault(
    "an image explained with --explain 0", "no file of maps, not one that is 0 everywhere"
)
def test_without_explained_cells_there_are_no_maps(
    stack: Stack, make_model: Make, tmp_path: Path
) -> None:
    for explained in (1.0, 0.0):
        request = Request(finder=ThresholdFinder("DNA", diameter_um=6), explained=explained)
        done = explain_stack(stack, make_model(), tmp_path, request)
        maps = tmp_path / f"{stack.name}.maps.ome.tif"
        assert maps.is_file() == bool(explained)
        assert (maps in done.written) == bool(explained)
        columns = done.cells[["importance_error", "inside", "share_DNA"]]
        assert columns.notna().to_numpy().all() == bool(explained)
    run = json.loads((tmp_path / "run.json").read_text())
    assert (run["cells"], run["explained"]) == (2, 0)
