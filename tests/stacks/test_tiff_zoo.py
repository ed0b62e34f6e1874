"""Every microscopy file of the collection: read as its index says, or refused with a reason."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cellcam import InputError, open_stack

# Files that do not state their axes, with the axes that their descriptions give.
UNSTATED = {
    "bian/cancer_cell_migration_crop.tif": "TYX",
    "reencoded_by_us/cell_dna_mts_actin_lzw_pred.tif": "CYX",
}


def microscopy_files(shared_data: Path) -> list[dict[str, str]]:
    with open(shared_data / "tiff_zoo" / "index.csv", newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["kind"] == "microscopy"]


def expected_tczyx(row: dict[str, str], axes: str) -> tuple[int, ...]:
    sizes = dict(zip(axes.replace("S", "C"), map(int, row["shape"].split("x")), strict=True))
    return tuple(sizes.get(axis, 1) for axis in "TCZYX")


def test_every_microscopy_file_is_read_as_its_index_says(shared_data: Path) -> None:
    files = microscopy_files(shared_data)
    assert len(files) > 70
    for row in files:
        path = shared_data / "tiff_zoo" / row["file"]
        axes = UNSTATED.get(row["file"])
        if axes:
            with pytest.raises(InputError, match="does not say what its axes mean"):
                open_stack(path)
        stack = open_stack(path, axes=axes)
        assert stack.data.shape == expected_tczyx(row, axes or row["axes"]), row["file"]
        assert str(stack.data.dtype) == row["dtype"], row["file"]


def test_every_pixel_is_the_one_tifffile_reads(shared_data: Path) -> None:
    for row in microscopy_files(shared_data):
        path = shared_data / "tiff_zoo" / row["file"]
        axes = UNSTATED.get(row["file"], row["axes"]).replace("S", "C")
        stack = open_stack(path, axes=UNSTATED.get(row["file"]))
        kept = tuple(slice(None) if axis in axes else 0 for axis in "TCZYX")
        ordered = np.asarray(stack.data[kept])
        in_order = [axis for axis in "TCZYX" if axis in axes]
        expected = np.transpose(tifffile.imread(path), [axes.index(axis) for axis in in_order])
        np.testing.assert_array_equal(ordered, expected, err_msg=row["file"])


@pytest.mark.parametrize(
    ("name", "pixel_size", "channels", "time_step"),
    [
        ("neubias/xyzc_16bit__spots.tif", (0.4, 0.094134, 0.094134), None, None),
        ("neubias/xyt_calibrated_16bit__golgi_bfa_sum_projection.tif",
         (None, 0.351435, 0.351435), None, 59.86),
        ("neubias/xyc_16bit__hela-cells.tif",
         (None, 0.051493, 0.051493), ("red", "green", "blue"), None),
        ("cellprofiler/MetamorphImage.tif", (None, 0.645, 0.645), ("Cy5",), None),
        ("reencoded_by_us/spots_zc_tiled_deflate.ome.tif",
         (None, None, None), ("spots", "cell"), None),
        ("cellprofiler/bbbc013/Channel1-01-A-01.tif", (None, None, None), None, None),
    ],
)  # fmt: skip
def test_what_files_state_about_scale_and_channels(
    shared_data: Path,
    name: str,
    pixel_size: tuple[float | None, ...],
    channels: tuple[str, ...] | None,
    time_step: float | None,
) -> None:
    stack = open_stack(shared_data / "tiff_zoo" / name)
    for stated, expected in zip(stack.pixel_size_um, pixel_size, strict=True):
        assert stated == expected or stated == pytest.approx(expected, rel=1e-4)
    assert stack.time_step_s == time_step
    assert stack.channels_named == (channels is not None)
    if channels:
        assert stack.channels == channels


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("viv/multifile/multifile-Z1.ome.tiff", "companion.ome, which is not beside it"),
        ("hubmap/output_ome.ome.tiff", "does not describe its pages|contradicts itself"),
        ("galaxy/qyx.tiff", "--axes"),
    ],
)
def test_files_that_cannot_be_trusted_are_refused(
    shared_data: Path, name: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        open_stack(shared_data / "tiff_zoo" / name)
