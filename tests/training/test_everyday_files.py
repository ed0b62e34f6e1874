"""Files as people have them go through train, explain and batch, without a word of Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import typer
from cellcam_training import commands
from numpy.typing import NDArray

from cellcam import cli

N, SIDE = 9, 150
LARGE = np.array([True, False, True, False, True, False, True, False, True])


def discs(seed: int, shift: int = 0) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
    """Large and small discs on a grid, (Y, X), and their labels 1 to 9."""
    y, x = np.mgrid[:SIDE, :SIDE]
    labels = np.zeros((SIDE, SIDE), np.int32)
    for i, (cy, cx) in enumerate(np.ndindex(3, 3)):
        radius = 11 if LARGE[i] else 6
        labels[np.hypot(y - 25 - 50 * cy, x - 25 - 50 * cx - shift) < radius] = i + 1
    pixels = np.random.default_rng(seed).poisson(np.where(labels, 500, 100))
    return pixels.astype(np.uint16), labels


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Function that runs commands in the folder of the test, in this process."""
    monkeypatch.chdir(tmp_path)
    program = typer.Typer()
    program.registered_commands = [*cli.app.registered_commands]
    program.command("train")(commands.train)

    def run(*lines: str) -> None:
        for line in lines:
            assert not program([*line.split(), "--device", "cpu"], standalone_mode=False)

    return run


def names(large: NDArray[np.bool_]) -> list[str]:
    return ["groß" if is_large else "klein" for is_large in large]


@pytest.mark.fault(
    "a tracked movie with its labels in train, explain and batch",
    "each cell at its time, under the number of its track",
)
def test_a_tracked_movie(tmp_path: Path, run: Callable[..., None]) -> None:
    frames = [discs(t, 3 * t) for t in range(3)]
    movie, tracks = (np.stack(part) for part in zip(*frames, strict=True))
    (tmp_path / "movies").mkdir()
    tifffile.imwrite(tmp_path / "movies/m.tif", movie, imagej=True, metadata={"axes": "TYX"})
    # As btrack and TrackMate save labels: no axes are stated.
    tifffile.imwrite(tmp_path / "tracks.tif", tracks.astype(np.uint16), photometric="minisblack")
    rows = [("movies/m.tif", "tracks.tif", t, i + 1) for t in range(3) for i in range(N)]
    table = pd.DataFrame(rows, columns=["image", "labels", "t", "label"])
    table["cls"], table["group"] = names(np.tile(LARGE, 3)), table["t"].map("frame {}".format)
    table.to_csv(tmp_path / "cells.csv", index=False)
    told = "--pixel-size 0.5 --labels"
    run(
        "train cells.csv --out model --group-column group --epochs 1",
        f"explain movies/m.tif --model model --out one {told} tracks.tif",
        f"batch movies --model model --out all --scheduler sync {told} ../tracks.tif",
    )
    for path in (tmp_path / "one" / "m.cells.csv", tmp_path / "all" / "cells.csv"):
        cells = pd.read_csv(path)
        assert sorted(zip(cells["t"], cells["label"], strict=True)) == [
            (t, i + 1) for t in range(3) for i in range(N)
        ]
        of_first = cells[cells["label"] == 1].sort_values("t")
        np.testing.assert_allclose(of_first["x"].diff()[1:], 3, atol=0.1)  # it moves


@pytest.mark.fault(
    "an Excel sheet, and its text, from a German computer in train",
    "umlauts, decimal commas and semicolons are read",
)
@pytest.mark.parametrize("saved", ["xlsx", "csv"])
def test_a_table_from_a_german_computer(
    tmp_path: Path, run: Callable[..., None], saved: str
) -> None:
    (tmp_path / "bilder").mkdir()
    rows = []
    for i in range(3):
        pixels, _ = discs(i)
        tifffile.imwrite(tmp_path / f"bilder/größe{i}.tif", pixels)
        for k, (y, x) in enumerate(np.ndindex(3, 3)):
            place = (f"{25 + 50 * x},0", f"{25 + 50 * y},0")
            rows.append((f"bilder/größe{i}.tif", *place, names(LARGE)[k], f"Träger {i}"))
    table = pd.DataFrame(rows, columns=["image", "x", "y", "Größe", "Träger"])
    if saved == "xlsx":
        table.to_excel(tmp_path / "zellen.xlsx", index=False)
    else:  # as Excel saves "CSV" there
        table.to_csv(tmp_path / "zellen.csv", sep=";", index=False, encoding="cp1252")
    columns = "--class-column Größe --group-column Träger"
    told = "--pixel-size 0.5 --diameter-um 10"
    run(
        f"train zellen.{saved} --out modell --epochs 1 --crop-size 32 {columns}",
        f"explain bilder/größe1.tif --model modell --out eins {told}",
        f"batch bilder --model modell --out alle --scheduler sync {told}",
    )
    cells = pd.read_csv(tmp_path / "alle" / "cells.csv")
    assert cells.groupby("image").size().to_dict() == {f"größe{i}": N for i in range(3)}
    assert {"p_groß", "p_klein"} <= set(cells)


@pytest.mark.fault(
    "a z-stack and its Cellpose masks, neither of which states axes, in train, explain and batch",
    "--axes of the image holds for the masks; each plane, or the volume",
)
@pytest.mark.parametrize("field", ["plane", "volume"])
def test_a_z_stack_of_cellpose(tmp_path: Path, run: Callable[..., None], field: str) -> None:
    planes = [discs(z) for z in range(4)]
    stack, masks = (np.stack(part) for part in zip(*planes, strict=True))
    (tmp_path / "stacks").mkdir()
    tifffile.imwrite(tmp_path / "stacks/s.tif", stack, photometric="minisblack")
    tifffile.imwrite(tmp_path / "s_cp_masks.tif", masks.astype(np.uint16), photometric="minisblack")
    table = pd.DataFrame({"image": "stacks/s.tif", "labels": "s_cp_masks.tif"}, index=range(N))
    table["label"], table["cls"] = np.arange(N) + 1, names(LARGE)
    if field == "plane":
        table["z"] = 1
    table.to_csv(tmp_path / "cells.csv", index=False)
    told = "--axes ZYX --pixel-size 2,0.5,0.5 --labels"
    run(
        f"train cells.csv --out model --group-column label --epochs 1 --axes ZYX --field {field}",
        f"explain stacks/s.tif --model model --out one {told} s_cp_masks.tif",
        f"batch stacks --model model --out all --scheduler sync {told} ../s_cp_masks.tif",
    )
    expected = 4 * N if field == "plane" else N
    for path in (tmp_path / "one" / "s.cells.csv", tmp_path / "all" / "cells.csv"):
        cells = pd.read_csv(path)
        assert len(cells) == expected
        assert sorted(set(cells["label"])) == list(range(1, N + 1))
