"""The report of a batch shows what was computed, and says what was not."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.batches import HERE, write_field

from cellcam import CellModel, Request, save_model
from cellcam.batch.run import run_batch

_FIGURE = re.compile(r'base64,([^"]+)"><figcaption>([^<]+)<')


def shown_in(out: Path) -> list[tuple[str, NDArray[np.float64]]]:
    """Caption and picture of every cell in a report."""
    page = (out / "report.html").read_text("utf-8")
    return [
        (caption, np.asarray(Image.open(io.BytesIO(base64.b64decode(png))), float))
        for png, caption in _FIGURE.findall(page)
    ]


def has_evidence(picture: NDArray[np.float64]) -> bool:
    """Whether the second of two panels has colours: the cell beneath it is grey."""
    right = picture[:, picture.shape[1] // 2 + 1 :]
    return picture.shape[1] > 1.5 * picture.shape[0] and np.ptp(right, axis=2).max() > 20


@pytest.mark.fault(
    "a batch that explains 2 %, or none, of its cells",
    "cells in its report are explained for the report, as they are where all are",
)
@pytest.mark.parametrize("part", [0, 0.02])
@pytest.mark.parametrize("blocks", [False, True])
def test_cells_in_the_report_are_explained(
    folder: Path,
    model: Path,
    tmp_path: Path,
    part: float,
    blocks: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if blocks:
        monkeypatch.setattr("cellcam.batch.plan.WHOLE_BYTES", 0)
    for name, explained in (("all", 1.0), ("few", part)):
        run_batch([folder], model, tmp_path / name, Request(explained=explained), resources=HERE)
    expected, found = (shown_in(tmp_path / name) for name in ("all", "few"))
    assert len(found) > 6
    assert sorted(caption for caption, _ in found) == sorted(caption for caption, _ in expected)
    pictures = dict(expected)
    assert all(has_evidence(picture) for _, picture in found)
    # Where all are explained, the maps of neighbours are seen in some of the pictures, too.
    apart = [np.abs(picture - pictures[caption]).mean() for caption, picture in found]
    assert np.median(apart) < 1


@pytest.mark.fault(
    "maps of one class, and a cell called otherwise", "the report explains its own call"
)
def test_a_call_that_has_no_map_is_explained_for_the_report(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    run_batch([folder], model, tmp_path / "out", Request(classes=("S",)), resources=HERE)
    calls = set(pd.read_parquet(tmp_path / "out" / "cells.parquet")["class"])
    assert calls - {"S"}
    shown = shown_in(tmp_path / "out")
    assert {caption.split()[0] for caption, _ in shown} == calls
    assert all(has_evidence(picture) for _, picture in shown)


@pytest.mark.fault("explaining a cell for the report fails", "its place says so, and why")
def test_a_cell_that_cannot_be_explained_says_so(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate")

    monkeypatch.setattr("cellcam.batch.shown_cells.explain_cell", fail)
    run_batch([folder], model, tmp_path / "out", Request(explained=0), resources=HERE)
    shown = shown_in(tmp_path / "out")
    assert shown
    for caption, picture in shown:
        assert "(not explained: CUDA out of memory)" in caption
        assert not has_evidence(picture)


@pytest.mark.fault("an image without a result", "its number of cells is empty, not 0")
def test_numbers_that_are_unknown_are_absent(folder: Path, model: Path, tmp_path: Path) -> None:
    (folder / "bad").mkdir()
    (folder / "bad" / "cut.tif").write_bytes(b"II*\0")
    run_batch([folder], model, tmp_path / "out", Request(explained=0), resources=HERE)
    images = pd.read_csv(tmp_path / "out" / "images.csv").set_index("image")
    assert np.isnan(images.loc["bad/cut", "cells"])
    assert images.drop("bad/cut")["cells"].notna().all()
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    row = page.partition("<td>bad</td>")[2].partition("</tr>")[0]
    assert re.findall(r"<td>(.*?)</td>", row) == ["1", "1", *["\N{EN DASH}"] * 6]


@pytest.mark.fault(
    "a second run in one folder, with another request and other images",
    "what was kept, replaced and left alone is said",
)
def test_a_later_run_says_what_became_of_the_earlier_one(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = run_batch([folder], model, out, Request(explained=0), resources=HERE)
    assert first is not None
    assert first.earlier == ()
    again = run_batch([folder], model, out, Request(explained=0), resources=HERE)
    assert again is not None
    assert again.earlier == ("8 of 8 images were finished before, and kept.",)
    other = run_batch([folder / "plate0"], model, out, Request(explained=0.5), resources=HERE)
    assert other is not None
    assert "its results were replaced" in other.earlier[0]
    assert "results of 8 images that are not part of this run" in other.earlier[1]
    assert 0 < other.explained < other.cells


@pytest.mark.fault("a batch into the folder of a single image", "that image's run.json is kept")
def test_the_run_of_a_single_image_is_kept(model: Path, tmp_path: Path) -> None:
    from cellcam import load_model, open_stack
    from cellcam.pipeline.explain_stack import explain_stack

    write_field(tmp_path / "in" / "a.tif", 0)
    explain_stack(open_stack(tmp_path / "in" / "a.tif"), load_model(model, "cpu"), tmp_path / "out")
    before = (tmp_path / "out" / "run.json").read_text()
    run_batch([tmp_path / "in"], model, tmp_path / "out", resources=HERE)
    assert (tmp_path / "out" / "a.run.json").read_text() == before


def test_every_class_has_examples(
    folder: Path, make_model: Callable[..., CellModel], tmp_path: Path
) -> None:
    save_model(make_model(finding={"channel": "DNA"}, crop_size=(16, 24)), tmp_path / "wide")
    done = run_batch([folder], tmp_path / "wide", tmp_path / "out", resources=HERE)
    assert done is not None
    assert all(has_evidence(picture) for _, picture in shown_in(tmp_path / "out"))
