from __future__ import annotations

from pathlib import Path

import numpy as np
from cellcam_training.tables.cell_finding import measured_finding
from cellcam_training.tables.cell_table import CellTable, read_cell_table
from cellcam_training.tables.crops import CropSettings, FindingChoice, image_opener
from support.batches import cellcam, ended
from support.cell_tables import write_table

from cellcam.models.bundle import read_spec
from cellcam.models.spec import Finding
from cellcam.stacks.stack import PixelSize
from cellcam.stacks.writing import write_ome_tiff

Y, X = np.mgrid[:200, :200]
CENTRES = [(25 + 50 * row, 25 + 50 * column) for row in range(4) for column in range(4)]


def discs(radius: float) -> np.ndarray:
    """Bright discs on the 16 centres, (200, 200)."""
    distance = np.min([np.hypot(Y - y, X - x) for y, x in CENTRES], axis=0)
    return np.where(distance < radius, 400.0, 0.0)


def write_field(folder: Path, **channels: np.ndarray) -> None:
    """Write ``field.ome.tif`` of 1 um pixels with these channels, under photon noise."""
    random = np.random.default_rng(0)
    pixels = [random.poisson(100 + plane) for plane in channels.values()]
    data = np.stack(pixels)[None, :, None].astype(np.uint16)
    write_ome_tiff(folder / "field.ome.tif", data, tuple(channels), PixelSize(1, 1, 1))


def centres_table(folder: Path) -> CellTable:
    y, x = np.array(CENTRES).T
    path = write_table(folder, image="field.ome.tif", x=x, y=y, cls=["a", "b"] * 8)
    return read_cell_table(path)


def finding_of(table: CellTable) -> FindingChoice:
    settings = CropSettings()
    return measured_finding(table, settings, image_opener(table, settings), 32)


def test_the_channel_that_shows_the_cells_is_named(tmp_path: Path) -> None:
    everywhere = np.full((200, 200), 300.0)
    write_field(tmp_path, actin=everywhere, DNA=discs(6), light=X * 2.0)
    choice = finding_of(centres_table(tmp_path))
    assert choice.finding is not None
    assert choice.finding.channel == "DNA"
    assert choice.why == "it shows 16 of 16 cells of the table apart"


def test_of_two_channels_that_show_the_cells_the_one_without_other_objects(tmp_path: Path) -> None:
    between = np.min([np.hypot(Y - y - 25, X - x - 25) for y, x in CENTRES], axis=0)
    write_field(tmp_path, both=discs(6) + np.where(between < 6, 400, 0), DNA=discs(6))
    choice = finding_of(centres_table(tmp_path))
    assert choice.finding is not None
    assert choice.finding.channel == "DNA"


def test_cells_that_touch_do_not_count_as_one_another(tmp_path: Path) -> None:
    sheet = np.where((X > 5) & (X < 195) & (Y > 5) & (Y < 195), 400.0, 0.0)
    write_field(tmp_path, sheet=sheet, light=np.zeros((200, 200)))
    assert finding_of(centres_table(tmp_path)).finding is None


def test_dark_cells_on_bright_ground_are_remembered(tmp_path: Path) -> None:
    write_field(tmp_path, light=600 - discs(6))
    choice = finding_of(centres_table(tmp_path))
    assert choice.finding == Finding(channel="light", look_for="dark")
    assert choice.why == "it shows 16 of 16 cells of the table apart"


def test_without_such_a_channel_nothing_is_named(tmp_path: Path) -> None:
    write_field(tmp_path, actin=np.zeros((200, 200)), light=X * 2.0)
    finding, why = finding_of(centres_table(tmp_path))
    assert finding is None
    assert "of 16 cells" in why


def test_boxes_say_how_large_a_cell_is(tmp_path: Path) -> None:
    """Cells of 36 um with a dent fall apart at the finder's own 10 um."""
    lobes = [
        (y + dy, x + dx) for y, x in CENTRES for dy, dx in ((0, 0), (0, 13), (13, 0), (-13, 0))
    ]
    distance = np.min([np.hypot(Y - y, X - x) for y, x in lobes], axis=0)
    write_field(tmp_path, DNA=np.where(distance < 7.5, 400.0, 0), actin=np.zeros((200, 200)))
    y, x = np.array(CENTRES).T
    path = write_table(
        tmp_path, image="field.ome.tif", cls=["a", "b"] * 8,
        xmin=x - 18, xmax=x + 18, ymin=y - 18, ymax=y + 18,
    )  # fmt: skip
    choice = finding_of(read_cell_table(path))
    assert choice.finding is not None
    assert choice.finding.diameter_um == 36


def test_the_middle_of_a_large_field_is_enough(tmp_path: Path) -> None:
    """Cells beyond the window are not counted as missed."""
    field = np.full((1, 1, 1, 1500, 2600), 100, np.uint16)
    centres = [(100 + 200 * i, 100 + 200 * j) for i in range(7) for j in range(13)]
    for y, x in centres:
        field[..., y - 5 : y + 6, x - 5 : x + 6] = 900
    write_ome_tiff(tmp_path / "field.ome.tif", field, ("DNA",), PixelSize(1, 1, 1))
    y, x = np.array(centres).T
    path = write_table(tmp_path, image="field.ome.tif", x=x, y=y, cls=(["a", "b"] * 46)[:91])
    finding, why = finding_of(read_cell_table(path))
    assert finding is not None
    counted = int(why.split()[2])
    assert 20 <= counted < 91
    assert f"{counted} of {counted}" in why


def test_a_model_of_centres_explains_a_new_image_without_being_told_the_channel(
    tmp_path: Path,
) -> None:
    write_field(tmp_path, actin=np.zeros((200, 200)), DNA=discs(6))
    centres_table(tmp_path)
    for command in (
        "train cells.csv --out model --network small_cnn --epochs 1 --device cpu",
        "explain field.ome.tif --model model --out out --device cpu",
    ):
        status, stdout, stderr = ended(cellcam(*command.split(), cwd=tmp_path))
        assert status == 0, stderr
        if "train" in command:
            assert "cells are found in DNA: it shows 16 of 16" in stdout
    assert read_spec(tmp_path / "model").finding == Finding(channel="DNA")
    assert len((tmp_path / "out" / "field.cells.csv").read_text().splitlines()) == 1 + 16
