from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from ome_types import from_tiff
from PIL import Image

from cellcam import CellModel, InputError, Request, Stack, ThresholdFinder, open_stack
from cellcam.errors import UsageError
from cellcam.pipeline.explain_stack import explain_stack
from cellcam.stacks.stack import PixelSize

Make = Callable[..., CellModel]
IN_DNA = Request(finder=ThresholdFinder("DNA", diameter_um=6))


def movie(stack: Stack) -> Stack:
    frame = np.asarray(stack.data)[0]
    pixels = np.stack([frame, frame[..., ::-1]]).repeat(3, axis=2)
    return Stack.from_array(pixels, "TCZYX", stack.channels, PixelSize(2.0, 0.5, 0.5), "movie")


def test_what_is_written(stack: Stack, make_model: Make, tmp_path: Path) -> None:
    done = explain_stack(stack, make_model(), tmp_path, IN_DNA)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "two_discs.maps.ome.tif", "two_discs.labels.ome.tif", "two_discs.cells.parquet",
        "two_discs.cells.csv", "two_discs.overview.png", "run.json",
    }  # fmt: skip
    assert names == {path.name for path in done.written}
    maps = open_stack(tmp_path / "two_discs.maps.ome.tif")
    assert maps.channels == ("G1", "S", "M")
    assert maps.pixel_size_um == stack.pixel_size_um
    np.testing.assert_array_equal(np.asarray(maps.data)[0, :, 0], done.fields[0].maps)
    pixels = from_tiff(tmp_path / "two_discs.maps.ome.tif").images[0].pixels
    assert (pixels.type.value, pixels.size_c, pixels.physical_size_x) == ("float", 3, 0.5)
    labels = tifffile.imread(tmp_path / "two_discs.labels.ome.tif")
    assert labels.dtype == np.uint16
    assert labels.max() == len(done.cells) == 2
    parquet = pd.read_parquet(tmp_path / "two_discs.cells.parquet")
    csv = pd.read_csv(tmp_path / "two_discs.cells.csv", keep_default_na=False)
    assert parquet.columns.tolist() == csv.columns.tolist()
    assert parquet["class"].tolist() == csv["class"].tolist()
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["cells"] == 2
    assert run["versions"]["cellcam"]
    picture = np.asarray(Image.open(tmp_path / "two_discs.overview.png").convert("RGB"))
    assert picture.std() > 20


def test_progress_says_which_field_and_what_is_being_done(
    stack: Stack, make_model: Make, tmp_path: Path
) -> None:
    said: list[str] = []
    explain_stack(
        movie(stack), make_model(), tmp_path, IN_DNA,
        progress=lambda done, total, note="": said.append(note),
    )  # fmt: skip
    assert said[0] == "field 1 of 6: finding cells"
    assert "field 6 of 6: classifying 2 cells" in said
    assert said[-2:] == ["field 6 of 6", "writing maps and overview"]


def test_every_plane_and_time_point_is_a_field(
    stack: Stack, make_model: Make, tmp_path: Path
) -> None:
    done = explain_stack(movie(stack), make_model(), tmp_path, IN_DNA)
    assert [result.place for result in done.fields] == [(t, z) for t in range(2) for z in range(3)]
    maps = tifffile.imread(tmp_path / "movie.maps.ome.tif")
    assert maps.shape == (2, 3, 3, 40, 60)  # TZCYX or TCZYX: three planes, three classes
    written = np.asarray(open_stack(tmp_path / "movie.maps.ome.tif").data)
    for result in done.fields:
        t, z = result.place
        np.testing.assert_array_equal(written[t, :, z], result.maps)


def test_projections_and_volumes_keep_their_axes(
    stack: Stack, make_model: Make, tmp_path: Path
) -> None:
    deep = movie(stack)
    explain_stack(
        deep, make_model(field="max"), tmp_path / "max", Request(finder=ThresholdFinder("DNA"))
    )
    assert open_stack(tmp_path / "max/movie.maps.ome.tif").data.shape == (2, 3, 1, 40, 60)
    volumes = make_model(spatial_dims=3, crop_size=(4, 16, 16), field="volume")
    done = explain_stack(deep, volumes, tmp_path / "volume", IN_DNA)
    written = open_stack(tmp_path / "volume/movie.maps.ome.tif")
    assert written.data.shape == (2, 3, 3, 40, 60)
    np.testing.assert_array_equal(written.data[1], done.fields[1].maps)


def test_every_plane_can_be_asked_for_whatever_the_model_was_trained_on(
    stack: Stack, make_model: Make, tmp_path: Path
) -> None:
    asked = Request(finder=ThresholdFinder("DNA"), z="each")
    done = explain_stack(movie(stack), make_model(field="max"), tmp_path, asked)
    assert [result.place for result in done.fields] == [(t, z) for t in range(2) for z in range(3)]
    volumes = make_model(spatial_dims=3, crop_size=(4, 16, 16), field="volume")
    with pytest.raises(UsageError, match="volumes"):
        explain_stack(movie(stack), volumes, tmp_path, asked)


def test_cells_have_the_same_number_over_planes(
    stack: Stack, make_model: Make, tmp_path: Path
) -> None:
    labels = np.zeros((2, 1, 3, 40, 60), np.uint16)
    labels[0, 0, 1:, 10:20, 10:20], labels[0, 0, 2, 10:20, 30:40] = 5, 4
    labels[1, 0, :2, 10:20, 10:20] = 5
    for name, shown in (("planes", Request()), ("one", Request(z=1))):
        done = explain_stack(
            movie(stack),
            make_model(),
            tmp_path / name,
            shown,
            labels=Stack.from_array(labels, "TCZYX"),
        )
        if name == "one":
            assert "cell_3d" not in done.cells
            continue
        found = pd.read_csv(tmp_path / name / "movie.cells.csv")
        rows = found[["t", "z", "label", "cell_3d"]].to_numpy().tolist()
        assert rows == [
            [0, 1, 5, 1],
            [0, 2, 4, 2],
            [0, 2, 5, 1],
            [1, 0, 5, 3],
            [1, 1, 5, 3],
        ]


def test_user_labels_are_cut_field_by_field(stack: Stack, make_model: Make, tmp_path: Path) -> None:
    deep = movie(stack)
    labels = np.zeros((2, 1, 3, 40, 60), np.uint16)
    for t in range(2):
        for z in range(3):
            labels[t, 0, z, 10:20, 10:20] = 1 + t * 3 + z
    done = explain_stack(deep, make_model(), tmp_path, labels=Stack.from_array(labels, "TCZYX"))
    assert done.cells["label"].tolist() == [1, 2, 3, 4, 5, 6]
    with pytest.raises(InputError, match="projection"):
        explain_stack(
            deep, make_model(), tmp_path, Request(z="max"), labels=Stack.from_array(labels, "TCZYX")
        )


@pytest.mark.fault("the same image explained twice", "the same bytes")
def test_the_same_input_gives_the_same_bytes(
    stack: Stack, make_model: Make, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        explain_stack(stack, make_model(), tmp_path / name, IN_DNA)
    for path in sorted((tmp_path / "a").iterdir()):
        if path.name != "run.json":  # it holds the duration of the run
            assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


@pytest.mark.fault(
    "25 an error in the middle of a write", "the old file stays; nothing else is left"
)
def test_nothing_is_left_behind_by_a_failed_write(tmp_path: Path) -> None:
    from cellcam.stacks.writing import whole_file

    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(ZeroDivisionError), whole_file(tmp_path / "a.txt") as temporary:
        temporary.write_text(f"half, and then {1 / 0}")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"
