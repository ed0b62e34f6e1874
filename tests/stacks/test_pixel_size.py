"""A pixel size is one of a microscope, in the units that the file states, or unknown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from support.ome_files import image_xml, ome, tiff_data, write_planes

from cellcam import InputError, open_stack
from cellcam.cells.cropping import shape_at_pixel_size
from cellcam.stacks.scale import plausible
from cellcam.stacks.stack import PixelSize, Stack

IMAGE = np.ones((8, 9), np.uint16)


def imagej(path: Path, per_unit: tuple[float, float], **metadata: object) -> Path:
    """ImageJ file with ``per_unit`` pixels along x and y."""
    written = {"axes": "YX", **metadata}
    tifffile.imwrite(path, IMAGE, imagej=True, resolution=per_unit, metadata=written)
    return path


@pytest.mark.fault(
    "Fiji takes 72 or 96 dpi over as a scale in inch or cm", "no pixel size, and a note"
)
@pytest.mark.parametrize(
    ("per_unit", "unit"),
    [
        (72, "inch"),
        (96, "Inch"),
        (72, "inches"),
        (300, "inch"),
        (28.35, "cm"),
        (25400 * 2, "inch"),
        (1e5, "cm"),
    ],
)
def test_a_resolution_for_printing_is_no_pixel_size(
    tmp_path: Path, per_unit: float, unit: str
) -> None:
    stack = open_stack(imagej(tmp_path / "a.tif", (per_unit, per_unit), unit=unit))
    assert stack.pixel_size_um == (None, None, None)
    assert f"pixels per {unit}" in stack.notes[0]
    with pytest.raises(InputError, match=f"--pixel-size.*pixels per {unit}, as for printing"):
        shape_at_pixel_size(stack, (8, 9), (0.5, 0.5))
    known = open_stack(tmp_path / "a.tif", pixel_size_um=0.3)
    assert (known.pixel_size_um.x, known.notes) == (0.3, ())


@pytest.mark.parametrize("unit", [2, 3])
def test_resolution_tags_alone_are_no_pixel_size(tmp_path: Path, unit: int) -> None:
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, resolution=(10000, 10000), resolutionunit=unit)
    assert open_stack(tmp_path / "a.tif").pixel_size_um == (None, None, None)


@pytest.mark.fault("ImageJ's yunit differs from its unit", "y in its own unit")
@pytest.mark.parametrize(
    ("unit", "yunit", "expected"),
    [("um", "nm", (0.25e-3 * 2, 0.5)), ("nm", "um", (0.5, None)), ("micron", None, (0.5, 0.5)),
     ("um", "inch", (None, 0.5)), ("um", "furlong", (None, 0.5))],
)  # fmt: skip
def test_y_has_a_unit_of_its_own(
    tmp_path: Path, unit: str, yunit: str | None, expected: tuple[float | None, float | None]
) -> None:
    more = {"yunit": yunit} if yunit else {}
    stack = open_stack(imagej(tmp_path / "a.tif", (2, 2), unit=unit, **more))
    stated = stack.pixel_size_um
    if yunit == "nm":
        # 0.5 nm is below what a microscope can have.
        assert (stated.y, stated.x) == (None, 0.5)
        return
    assert (stated.y, stated.x) == expected


def test_z_has_a_unit_of_its_own(tmp_path: Path) -> None:
    planes = np.ones((3, 8, 9), np.uint16)
    written = {"axes": "ZYX", "unit": "um", "zunit": "nm", "spacing": 700.0}
    tifffile.imwrite(tmp_path / "a.tif", planes, imagej=True, resolution=(2, 2), metadata=written)
    assert open_stack(tmp_path / "a.tif").pixel_size_um == (pytest.approx(0.7), 0.5, 0.5)


@pytest.mark.fault("a pixel size that no microscope has", "unknown, and a note")
@pytest.mark.parametrize("um", [352.7778, 264.5833, 84.6667, 42.3333, 101, 1e6, 0.9e-3, 1e-12])
def test_an_implausible_pixel_size_is_not_believed(tmp_path: Path, um: float) -> None:
    image = image_xml(0, (1, 1, 1, 8, 9), tiff_data(0, 1), pixel_um=um)
    write_planes(tmp_path / "a.ome.tif", IMAGE[None], ome(image))
    stack = open_stack(tmp_path / "a.ome.tif")
    assert stack.pixel_size_um == (None, None, None)
    assert "not believed" in stack.notes[0]
    assert open_stack(tmp_path / "a.ome.tif", pixel_size_um=um).pixel_size_um.x == um


@pytest.mark.fault("OME-XML with a unit that its schema does not have", "its length, or unknown")
@pytest.mark.parametrize(
    ("length", "unit", "um"),
    [(0.5, "um", 0.5), (0.5, "\u03bcm", 0.5), (0.5, "Microns", 0.5), (500, "nanometers", 0.5),
     (0.5, r"\u00B5m", 0.5), (1, "Mm", None), (0.5, "furlong", None), (0.5, "", None)],
)  # fmt: skip
def test_units_of_other_writers_are_read(
    tmp_path: Path, length: float, unit: str, um: float | None
) -> None:
    image = image_xml(0, (1, 1, 1, 8, 9), tiff_data(0, 1), pixel_um=length)
    units = f'PhysicalSizeXUnit="{unit}" PhysicalSizeYUnit="{unit}" SizeX='
    units = f'TimeIncrement="2" TimeIncrementUnit="{unit}" {units}'
    write_planes(tmp_path / "a.ome.tif", IMAGE[None], ome(image.replace("SizeX=", units, 1)))
    stack = open_stack(tmp_path / "a.ome.tif")
    assert stack.pixel_size_um == (None, um, um)
    assert stack.time_step_s is None  # no unit of time


def test_times_of_other_writers_are_read(tmp_path: Path) -> None:
    image = image_xml(0, (1, 1, 1, 8, 9), tiff_data(0, 1))
    units = 'TimeIncrement="2" TimeIncrementUnit="minutes" SizeX='
    write_planes(tmp_path / "a.ome.tif", IMAGE[None], ome(image.replace("SizeX=", units, 1)))
    assert open_stack(tmp_path / "a.ome.tif").time_step_s == 120


@pytest.mark.parametrize("um", [1e-3, 0.0645, 0.65, 6.45, 50.0, 100.0])
def test_plausible_pixel_sizes_are_kept(um: float) -> None:
    assert plausible(PixelSize(None, um, um)) == (PixelSize(None, um, um), ())


@pytest.mark.parametrize("um", ["0", "0.0", "-1", "NaN", "INF", "unknown"])
def test_lengths_that_are_none_are_unknown(tmp_path: Path, um: str) -> None:
    image = image_xml(0, (1, 1, 1, 8, 9), tiff_data(0, 1), pixel_um=um)  # type: ignore[arg-type]
    write_planes(tmp_path / "a.ome.tif", IMAGE[None], ome(image))
    assert open_stack(tmp_path / "a.ome.tif").pixel_size_um == (None, None, None)


@pytest.mark.fault(
    "474 GiB asked for to resample an image of a wrong pixel size",
    "refused with both pixel sizes in words",
)
@pytest.mark.parametrize(("um", "words"), [(90.0, "enlarged 180 times"), (0.002, "reduced 250")])
def test_resampling_to_absurd_sizes_is_refused(um: float, words: str) -> None:
    stack = Stack.from_array(IMAGE, "YX", pixel_size_um=PixelSize(None, um, um), name="cells")
    with pytest.raises(InputError, match=rf"cells has pixels of {um:g} um.*0.5 um.*{words}"):
        shape_at_pixel_size(stack, (8, 9), (0.5, 0.5))
