"""Channels, pixel size and time step that the flavours of TIFF state.

Nothing is guessed: a resolution for printing (72 dpi and the like) is no pixel size.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from cellcam.errors import NOT_THE_FILE, InputError
from cellcam.stacks.image_file import Metadata
from cellcam.stacks.stack import PixelSize

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries
    from xsdata_pydantic_basemodel.bindings import XmlContext

    from cellcam.stacks.ome_images import OmeImages

_UM = {
    **dict.fromkeys(["um", "µm", "μm", r"\u00B5m", "micron", "microns", "micrometer"], 1.0),
    **dict.fromkeys(["micrometre", "micrometers", "micrometres"], 1.0),
    **dict.fromkeys(["nm", "nanometer", "nanometre", "nanometers", "nanometres"], 1e-3),
    **dict.fromkeys(["mm", "millimeter", "millimetre", "millimeters", "millimetres"], 1e3),
    "pm": 1e-6,
    "Å": 1e-4,
    "cm": 1e4,
    "m": 1e6,
    "inch": 25400.0,
    "in": 25400.0,
}
# Units of print: ImageJ takes them over from the resolution tags of pictures.
_PRINT_UNITS = ("inch", "inches", "in", '"', "cm")
_SECONDS = {
    **dict.fromkeys(["s", "sec", "second", "seconds"], 1.0),
    "ns": 1e-9,
    "µs": 1e-6,
    "us": 1e-6,
    "ms": 1e-3,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}


def stated_metadata(tif: TiffFile, ome: OmeImages | None, series: int) -> Metadata:
    """Metadata of one series of a file; empty for a TIFF of no known flavour."""
    if ome is not None:
        return _metadata_of_ome(tif.filename, ome.descriptions[series])
    if tif.is_imagej:
        return _metadata_of_imagej(tif, tif.series[series])
    if tif.is_stk:
        return _metadata_of_stk(tif)
    if tif.is_metaseries:
        return _metadata_of_metaseries(tif)
    return Metadata()


def _metadata_of_ome(file: str, description: str) -> Metadata:
    from ome_types import from_xml

    parser = {"context": _ome_context()}
    try:
        image = from_xml(description, validate=False, parser_kwargs=parser).images[0]
    except NOT_THE_FILE:
        raise
    except Exception as error:  # ome-types raises whatever its XML parser does
        raise InputError(
            f"{file}: the OME-XML cannot be read ({error}). Export it again."
        ) from error
    pixels = image.pixels
    sizes = [
        _scaled(getattr(pixels, f"physical_size_{axis}"), unit.value, _UM)
        for axis, unit in [
            ("z", pixels.physical_size_z_unit),
            ("y", pixels.physical_size_y_unit),
            ("x", pixels.physical_size_x_unit),
        ]
    ]
    step = _scaled(pixels.time_increment, pixels.time_increment_unit.value, _SECONDS)
    return Metadata([channel.name for channel in pixels.channels], PixelSize(*sizes), step)


@lru_cache(1)
def _ome_context() -> XmlContext:
    """The parser's table of OME's types, built once and not for every file."""
    from xsdata_pydantic_basemodel.bindings import XmlContext

    return XmlContext()


def _metadata_of_imagej(tif: TiffFile, series: TiffPageSeries) -> Metadata:
    metadata = tif.imagej_metadata or {}
    unit = str(metadata.get("unit", ""))
    # ImageJ states the units of y and z only where they differ from that of x.
    units = [str(metadata.get(f"{axis}unit", unit)) for axis in "zy"] + [unit]
    lengths = (
        metadata.get("spacing") if "Z" in series.axes else None,
        _pixel_edge(series, "YResolution"),
        _pixel_edge(series, "XResolution"),
    )
    printed = [unit.strip().lower() in _PRINT_UNITS for unit in units]
    z, y, x = (
        None if p else _scaled(length, unit, _UM)
        for p, length, unit in zip(printed, lengths, units, strict=True)
    )
    note = (
        f"The file's resolution is in pixels per {unit}, as for printing, and was not taken for a "
        "pixel size."
    )
    notes = (note,) if any(printed) and lengths[2] else ()
    step = _scaled(metadata.get("finterval"), str(metadata.get("tunit", "s")), _SECONDS)
    # ImageJ labels slices: these are channel names only where each slice is a channel.
    sized = dict(zip(series.axes, series.shape, strict=True))
    names = metadata.get("Labels") or ()
    if isinstance(names, str) or len(names) != sized.get("C") or sized.get("Z", sized.get("T")):
        names = ()
    return Metadata(list(names), PixelSize(z, y, x), step, notes)


def _metadata_of_stk(tif: TiffFile) -> Metadata:
    metadata = tif.stk_metadata or {}
    unit = str(metadata.get("CalibrationUnits", ""))
    y, x = (_scaled(metadata.get(f"{axis}Calibration"), unit, _UM) for axis in "YX")
    named = {item["name"]: item["value"] for item in metadata.get("PlaneProperty", [])}
    name = named.get("_IllumSetting_")
    return Metadata([name] if name else [], PixelSize(None, y, x))


def _metadata_of_metaseries(tif: TiffFile) -> Metadata:
    metadata = (tif.metaseries_metadata or {}).get("PlaneInfo", {})
    unit = str(metadata.get("spatial-calibration-units", ""))
    y, x = (_scaled(metadata.get(f"spatial-calibration-{axis}"), unit, _UM) for axis in "yx")
    name = metadata.get("image-name")
    return Metadata([name] if name else [], PixelSize(None, y, x))


def _pixel_edge(series: TiffPageSeries, tag: str) -> float | None:
    """Length of a pixel from a resolution tag (pixels per unit)."""
    value = series.keyframe.tags.valueof(tag)
    if not value or not value[0]:
        return None
    return float(value[1] / value[0])


def _scaled(value: object, unit: str, factors: dict[str, float]) -> float | None:
    """A positive length or time in um or s; None where value or unit is missing or unknown."""
    factor = factors.get(unit.strip(), factors.get(unit.strip().lower()))
    if not isinstance(value, int | float) or value <= 0 or factor is None:
        return None
    return float(value) * factor
