"""Fields with areas without data, through the whole pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.mosaics import border, field_of_cells

from cellcam import CellModel, Request, Stack, ThresholdFinder, explain_field
from cellcam.pipeline.explain_stack import explain_stack
from cellcam.pipeline.notes import each_once
from cellcam.stacks.stack import PixelSize

Make = Callable[..., CellModel]
FIND = Request(finder=ThresholdFinder("DNA", diameter=16))


def as_stack(pixels: np.ndarray) -> Stack:
    return Stack.from_array(pixels, "CYX", ["DNA", "actin"], PixelSize(None, 0.5, 0.5), "mosaic")


def squares(*corners: tuple[int, int]) -> np.ndarray:
    labels = np.zeros((320, 320), np.int32)
    for number, (y, x) in enumerate(corners, 1):
        labels[y : y + 10, x : x + 10] = number
    return labels


@pytest.mark.fault("a mosaic with a border of zeros or NaN", "cells as without it; maps finite")
@pytest.mark.parametrize("value", [0.0, np.nan])
@pytest.mark.parametrize("pixel", [None, (1.0, 1.0)])
def test_cells_of_a_mosaic_are_those_of_its_inner_part(
    make_model: Make, value: float, pixel: tuple[float, float] | None
) -> None:
    pixels, model = field_of_cells().astype(np.float32), make_model(pixel_size_um=pixel)
    inner = explain_field(as_stack(pixels[:, 70:, :-70]), model, request=FIND)
    whole = explain_field(as_stack(border(pixels, value)), model, request=FIND)
    assert len(whole.cells) == len(inner.cells) > 5
    assert np.isfinite(whole.maps).all()
    assert not whole.maps[:, :70].any()
    assert not whole.maps[:, :, -70:].any()
    assert any("39 % of the field has no data" in note for note in whole.notes)
    at_edge = whole.cells["flags"].str.contains("no_data")
    assert 0 < at_edge.sum() < len(at_edge)
    # Cells that are far from the border lie where they lie on the inner part alone.
    apart = inner.cells[["y", "x"]].to_numpy() + np.array([70, 0])
    far = whole.cells.loc[~at_edge, ["y", "x"]].to_numpy()
    distance = np.abs(far[:, None] - apart[None]).max(2).min(1)
    assert (distance < 1).all()


@pytest.mark.fault("labelled cells in an area without data", "a row without a call, which says why")
@pytest.mark.parametrize("value", [0, 60000])
def test_cells_without_data_have_no_call(make_model: Make, value: int) -> None:
    stack = as_stack(border(field_of_cells(), value))
    labels = squares((20, 20), (66, 100), (150, 150))
    result = explain_field(stack, make_model(), labels)
    cells = result.cells.set_index("label")
    assert cells["class"].isna().tolist() == [True, False, False]
    figures = ["probability", "margin", "p_G1", "p_S", "p_M", "share_DNA", "inside"]
    assert cells.loc[1, figures].isna().all()
    assert cells.loc[[2, 3], figures].notna().all().all()
    has_flag = cells["flags"].str.split(";").map(lambda flags: "no_data" in flags)
    assert has_flag.tolist() == [True, True, False]
    assert np.isfinite(result.maps).all()
    assert not result.maps[:, :70].any()


def test_pixels_without_data_get_the_level_of_empty_field(make_model: Make) -> None:
    from cellcam.cells.user_labels import UserLabels
    from cellcam.pipeline.find_field import find_field
    from cellcam.pipeline.matching import FieldPlace, match

    pixels = border(field_of_cells(n_cells=0))
    labels = UserLabels.from_array(squares((66, 100)))
    matched = match(as_stack(pixels), make_model().spec, Request(), labels)
    found = find_field(matched, FieldPlace())
    # Crop of 16 pixels about (70.5, 104.5): rows 63 to 78, of which 7 lie in the border.
    crop = found.crops[0]
    outside = np.ones((9, 16), bool)
    outside[:6, 3:13] = False
    expected = np.median(pixels[:, 70:79, 97:113][:, outside], axis=1)
    assert np.abs(crop[:, :7] - expected[:, None, None]).max() <= 0.5
    np.testing.assert_array_equal(crop[:, 7:], pixels[:, 70:79, 97:113])
    assert found.can_be_called.all()
    assert found.lacks_data.all()


@pytest.mark.fault("13 a field of one value, with labels", "no call: there is nothing to see")
def test_cells_of_an_empty_image_have_no_call(make_model: Make, tmp_path: Path) -> None:
    stack = as_stack(np.zeros((2, 320, 320), np.uint16))
    done = explain_stack(
        stack, make_model(), tmp_path, labels=Stack.from_array(squares((20, 20)), "YX")
    )
    assert done.cells["class"].isna().all()
    assert done.cells["flags"].str.contains("no_data").all()
    assert not done.fields[0].maps.any()
    for table in (
        pd.read_csv(tmp_path / "mosaic.cells.csv"),
        pd.read_parquet(tmp_path / "mosaic.cells.parquet"),
    ):
        assert table["class"].isna().all()


@pytest.mark.fault("one channel of one value, or of NaN alone", "a note that names it; no maps")
@pytest.mark.parametrize(
    ("value", "note"), [(7, "All pixels of actin have the value 7"), (np.nan, "No pixel of actin")]
)
def test_a_channel_that_shows_nothing_is_named(
    make_model: Make, tmp_path: Path, value: float, note: str
) -> None:
    pixels = field_of_cells().astype(np.float32)
    pixels[1] = value
    done = explain_stack(as_stack(pixels), make_model(), tmp_path, FIND)
    assert sum(told.startswith(note) for told in done.notes) == 1
    assert not any("DNA have" in told for told in done.notes)
    maps = tmp_path / "mosaic.maps.ome.tif"
    assert (maps in done.written) == maps.is_file() == np.isfinite(value)


@pytest.mark.fault("one number on two distant cells", "no call, others are called")
def test_a_number_on_distant_pieces_has_no_call(make_model: Make) -> None:
    labels = squares((20, 20), (150, 150), (200, 60))
    labels[labels == 3] = 1
    result = explain_field(as_stack(field_of_cells()), make_model(), labels)
    cells = result.cells.set_index("label")
    assert cells["class"].isna().to_dict() == {1: True, 2: False}
    assert (
        cells.loc[1, "flags"] == "several_pieces;larger_than_crop"
        or "several_pieces" in cells.loc[1, "flags"]
    )
    assert any("several distant pieces: 1." in note for note in result.notes)
    assert not result.maps[:, 20:30, 20:30].any()


@pytest.mark.fault("labels up to 2147483647", "cells keep these numbers; memory does not grow")
def test_large_numbers_are_kept(make_model: Make, tmp_path: Path) -> None:
    labels = np.where(squares((20, 20), (150, 150)) == 2, 2**31 - 1, squares((20, 20)))
    done = explain_stack(
        as_stack(field_of_cells()), make_model(), tmp_path, labels=Stack.from_array(labels, "YX")
    )
    assert done.cells["label"].tolist() == [1, 2**31 - 1]
    assert done.cells["area"].tolist() == [100, 100]
    assert (tmp_path / "mosaic.overview.png").is_file()


def test_a_mask_is_explained_piece_by_piece(make_model: Make) -> None:
    mask = (squares((20, 20), (150, 150)) > 0).astype(np.uint8) * 255
    result = explain_field(as_stack(field_of_cells()), make_model(), mask)
    assert result.cells["area"].tolist() == [100, 100]
    assert result.cells["class"].notna().all()
    assert any("yes/no mask" in note for note in result.notes)


def test_shares_of_many_fields_are_told_in_one_note() -> None:
    notes = ["3 % of the field has no data.", "12 % of the field has no data.", "Else."]
    assert each_once(notes) == ("Up to 12 % of the field has no data.", "Else.")
    assert each_once(notes[:1] * 2) == (notes[0],)
    assert each_once(["Less than 1 % of it."]) == ("Less than 1 % of it.",)
